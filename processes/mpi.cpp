// The module that is loaded where several processes were started: the group over MPI. Open MPI's collective
// operations for the exchanges, and a thread that hears whether the others live.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#define OMPI_SKIP_MPICXX  // its C++ classes, gone from MPI, would want a library of their own
#include <mpi.h>
#include <unistd.h>

#include "base/error.h"
#include "processes/group.h"

namespace vitral {
namespace {

using Clock = std::chrono::steady_clock;

void check(int status, const char* what) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw_error("processes: {}: {}", what, text);
}

int count_of(std::size_t bytes) {
  if (bytes > INT_MAX)
    throw_error("processes: an exchange of {} bytes, at most {} are possible", bytes, INT_MAX);
  return static_cast<int>(bytes);
}

// Open MPI's own waiting keeps a core busy, which others need: whoever is slower.
void wait(MPI_Request& request, const char* what) {
  for (int tries = 0;; ++tries) {
    int done = 0;
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what);
    if (done) return;
    if (tries > 200) std::this_thread::sleep_for(std::chrono::microseconds(tries > 2000 ? 200 : 20));
  }
}

// mpirun and its daemons, asked to end all, wait for ever for a host that cannot be reached. One that still
// runs after some seconds is ended by a process that outlives us.
void end_launcher() {
  const pid_t launcher = ::getppid();
  std::ifstream file("/proc/" + std::to_string(launcher) + "/comm");
  std::string name;
  std::getline(file, name);
  const std::array names{"mpirun", "mpiexec", "orterun", "orted", "prterun", "prted"};
  if (std::find(names.begin(), names.end(), name) == names.end() || ::fork() != 0) return;
  ::setsid();
  ::close_range(0, ~0U, 0);
  ::sleep(4);
  ::kill(launcher, SIGKILL);
  ::_exit(0);
}

// Processes that died end the job by the launcher. One that was stopped (SIGSTOP), hangs in the kernel, or
// whose network is down does not, so each tells process 0 once a second that it lives, and process 0 tells
// all.
class Heartbeats {
 public:
  Heartbeats(int rank, int size, std::vector<std::string> hosts)
      : rank_(rank), size_(size), hosts_(std::move(hosts)) {
    check(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "MPI_Comm_dup");
    thread_ = std::thread([this] { run(); });
  }
  ~Heartbeats() {
    ending_ = true;
    thread_.join();
    MPI_Comm_free(&comm_);
  }
  Heartbeats(const Heartbeats&) = delete;
  Heartbeats& operator=(const Heartbeats&) = delete;

 private:
  static constexpr std::chrono::milliseconds period{1000}, patience{20000};
  static constexpr int tag = 1;

  void run() {
    const std::size_t others = rank_ == 0 ? static_cast<std::size_t>(size_) : 1;
    std::vector<Clock::time_point> heard(others, Clock::now());
    std::vector<MPI_Request> sent(others, MPI_REQUEST_NULL);
    auto last = Clock::now() - period, awake = Clock::now();
    while (!ending_) {
      const auto now = Clock::now();
      // Who did not run itself (stopped and continued, a suspended machine) cannot tell of others.
      if (now - awake > period * 3) std::fill(heard.begin(), heard.end(), now);
      awake = now;
      if (now - last >= period) {
        last = now;
        for (std::size_t i = 0; i < others; ++i) beat(static_cast<int>(i), sent[i]);
      }
      hear(heard, now);
      for (std::size_t i = rank_ == 0 ? 1 : 0; i < others; ++i)
        if (now - heard[i] > patience) give_up(static_cast<int>(i));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    for (auto& request : sent)
      if (request != MPI_REQUEST_NULL) MPI_Request_free(&request);
  }

  void beat(int to, MPI_Request& request) {
    if (to == rank_) return;
    int done = 1;
    if (request != MPI_REQUEST_NULL) MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) MPI_Isend(nullptr, 0, MPI_BYTE, to, tag, comm_, &request);
  }

  void hear(std::vector<Clock::time_point>& heard, Clock::time_point now) {
    for (int there = 1; there;) {
      MPI_Status status;
      MPI_Iprobe(MPI_ANY_SOURCE, tag, comm_, &there, &status);
      if (!there) return;
      MPI_Recv(nullptr, 0, MPI_BYTE, status.MPI_SOURCE, tag, comm_, MPI_STATUS_IGNORE);
      heard[static_cast<std::size_t>(status.MPI_SOURCE)] = now;
    }
  }

  [[noreturn]] void give_up(int rank) {
    std::fprintf(
        stderr,
        "vitral: process %d on %s has not answered for %d s: it was stopped, hangs, or its network is down; "
        "all processes end, continue with --resume auto\n",
        rank, hosts_[static_cast<std::size_t>(rank)].c_str(), static_cast<int>(patience.count() / 1000));
    end_launcher();
    MPI_Abort(MPI_COMM_WORLD, 1);
    ::_exit(1);
  }

  int rank_, size_;
  std::vector<std::string> hosts_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

// Before and after heartbeats: MPI waits for ever for a process that does not get so far.
class Watch {
 public:
  /// what: "started".
  Watch(const char* what, std::chrono::seconds patience)
      : what_(what), patience_(patience), thread_([this] { run(); }) {}
  ~Watch() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  void run() {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, patience_, [this] { return done_; })) return;
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    std::fprintf(stderr,
                 "vitral: process %s: not all processes have %s after %d s: one was stopped, hangs, or its "
                 "host cannot "
                 "be reached; all end\n",
                 rank ? rank : "?", what_, static_cast<int>(patience_.count()));
    end_launcher();
    ::_exit(1);
  }

  const char* what_;
  std::chrono::seconds patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

class MpiGroup : public Group {
 public:
  MpiGroup() {
    const Watch watch("started", std::chrono::seconds(60));
    int threads = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &threads), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    char host[256] = "";
    ::gethostname(host, sizeof host - 1);
    if (size_ > 1 && threads == MPI_THREAD_MULTIPLE)
      heartbeats_.emplace(rank_, size_, vitral::all_gather(*this, host));
  }
  ~MpiGroup() override {
    MPI_Request request;  // who is still at work wants to know that the others live
    if (MPI_Ibarrier(MPI_COMM_WORLD, &request) == MPI_SUCCESS) wait(request, "MPI_Ibarrier");
    const Watch watch("ended", std::chrono::seconds(20));
    heartbeats_.reset();
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  // NOLINTBEGIN(clang-analyzer-optin.mpi.MPI-Checker): wait() tests until a request is done
  void all_to_all(const void* from, void* to, std::size_t bytes) override {
    const int n = count_of(bytes);
    MPI_Request request;
    check(MPI_Ialltoall(from, n, MPI_BYTE, to, n, MPI_BYTE, MPI_COMM_WORLD, &request), "MPI_Ialltoall");
    wait(request, "MPI_Ialltoall");
  }
  void all_gather(const void* from, void* to, std::size_t bytes) override {
    const int n = count_of(bytes);
    MPI_Request request;
    check(MPI_Iallgather(from, n, MPI_BYTE, to, n, MPI_BYTE, MPI_COMM_WORLD, &request), "MPI_Iallgather");
    wait(request, "MPI_Iallgather");
  }
  void broadcast(void* data, std::size_t bytes) override {
    for (std::size_t at = 0; at < bytes;) {
      const std::size_t n = std::min<std::size_t>(bytes - at, 1 << 30);
      MPI_Request request;
      check(MPI_Ibcast(static_cast<char*>(data) + at, static_cast<int>(n), MPI_BYTE, 0, MPI_COMM_WORLD,
                       &request),
            "MPI_Ibcast");
      wait(request, "MPI_Ibcast");
      at += n;
    }
  }
  // NOLINTEND(clang-analyzer-optin.mpi.MPI-Checker)
  [[noreturn]] void abort(int status) override {
    MPI_Abort(MPI_COMM_WORLD, status);
    ::_exit(status);
  }

 private:
  int rank_ = 0, size_ = 1;
  std::optional<Heartbeats> heartbeats_;
};

}  // namespace
}  // namespace vitral

extern "C" vitral::Group* vitral_open_mpi() { return new vitral::MpiGroup; }
