#include "processes/launch.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "base/error.h"
#include "base/signals.h"
#include "processes/subprocess.h"

namespace vitral {
namespace {

int number_in(const char* variable) {
  const char* text = std::getenv(variable);
  int n = 0;
  if (text) std::from_chars(text, text + std::strlen(text), n);
  return n;
}

// Open MPI's mpirun says how many there are; of srun, which also starts what is no MPI, PMIx or PMI must say
// that they can find each other.
bool is_one_of_several() {
  if (std::getenv("OMPI_COMM_WORLD_SIZE")) return number_in("OMPI_COMM_WORLD_SIZE") > 1;
  if (std::getenv("PMI_SIZE")) return number_in("PMI_SIZE") > 1;
  const int tasks = number_in("SLURM_STEP_NUM_TASKS");
  VITRAL_CHECK(
      tasks <= 1 || std::getenv("PMIX_RANK"),
      "srun started {} processes that cannot find each other; start them with srun --mpi=pmix, or with "
      "mpirun",
      tasks);
  return tasks > 1;
}

std::unique_ptr<Group> open_mpi() {
  // Global: the modules that Open MPI itself loads look for its symbols.
  void* module = ::dlopen("libvitral_mpi.so", RTLD_NOW | RTLD_GLOBAL);
  const char* problem = module ? nullptr : ::dlerror();
  void* open = module ? ::dlsym(module, "vitral_open_mpi") : nullptr;
  VITRAL_CHECK(
      open,
      "a launcher started several processes, but MPI cannot be loaded ({}); this program was built "
      "without libopenmpi-dev, or openmpi-bin is not installed here; start one process, or install it",
      problem ? problem : "it is of another version");
  return std::unique_ptr<Group>(reinterpret_cast<Group* (*)()>(open)());
}

std::unique_ptr<Group> opened;

int core_count() {
  cpu_set_t cores;
  return ::sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

// What mpirun says of a process that died, in boxes of lines, as one line; all else goes through.
class Told {
 public:
  void add(std::string_view bytes) {
    rest_ += bytes;
    for (std::size_t end; (end = rest_.find('\n')) != std::string::npos; rest_.erase(0, end + 1))
      line(rest_.substr(0, end + 1));
  }
  /// Whether it or a process has said why the job ended.
  bool said() const { return said_; }
  void finish() {
    if (!rest_.empty()) print(rest_);
    if (!box_.empty()) print(box_);
  }

 private:
  static bool is_border(const std::string& line) {
    return line.size() > 40 && line.find_first_not_of("-\n\r") == std::string::npos;
  }
  // Of mpirun, about itself: the second where boxes of several processes come at once.
  static bool is_chatter(const std::string& line) {
    return line.starts_with("mpirun: Forwarding signal") ||
           (line.find("ORTE_ERROR_LOG") != std::string::npos &&
            line.find("show_help.c") != std::string::npos);
  }
  // Processes that fail alike wait for the first to end them (cli/main.cpp); on a busy machine not long
  // enough.
  bool is_again(const std::string& line) {
    static const std::regex reason(R"(vitral: process \d+ of \d+: ([^\n]*)\n)");
    std::smatch m;
    return std::regex_match(line, m, reason) && !reasons_.insert(m[1]).second;
  }
  static void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }

  void line(const std::string& text) {
    if (!is_border(text)) {
      if (in_box_)
        box_ += text;
      else if (!is_chatter(text) && !is_again(text))
        print(text);
      said_ = said_ || (!in_box_ && text.starts_with("vitral: "));
      return;
    }
    if (in_box_) tell();
    in_box_ = !in_box_;
    box_.clear();
  }

  // What a process has said of itself, its box does not say again.
  void tell() {
    static const std::regex killed(
        R"(mpirun noticed that process rank (\d+) with PID \d+ on node (\S+) exited on signal (\d+))");
    static const std::regex ended(R"(Process name: \[\[\d+,\d+\],(\d+)\]\s*Exit code:\s*(\d+))");
    std::smatch m;
    std::string out;
    if (std::regex_search(box_, m, killed))
      out = "vitral: process " + m[1].str() + " on " + m[2].str() + " was ended by " +
            signal_name(std::stoi(m[3].str())) + "; all processes end, continue with --resume auto\n";
    else if (std::regex_search(box_, m, ended) && m[2] != "1" && m[2] != "2")  // 1 and 2: it has said why
      out = "vitral: process " + m[1].str() + " ended with status " + m[2].str() +
            "; all processes end, continue with --resume auto\n";
    else if (box_.find("MPI_ABORT was invoked") == std::string::npos &&
             box_.find("the job has been aborted") == std::string::npos && !std::regex_search(box_, ended))
      out = box_;
    print(out);
    said_ = said_ || !out.empty();
  }

  std::string rest_, box_;
  std::set<std::string> reasons_;
  bool in_box_ = false, said_ = false;
};

std::vector<std::string> launcher(int count) {
  std::vector<std::string> words{"mpirun", "-n", std::to_string(count)};
  const int cores = core_count(), share = std::max(cores / count, 1);
  // mpirun's default gives each of two processes one core, whatever threads it has.
  if (share * count <= cores)
    words.insert(words.end(), {"--map-by", "slot:PE=" + std::to_string(share), "--bind-to", "core"});
  else
    words.insert(words.end(), {"--bind-to", "none"});
  words.push_back("--oversubscribe");
  if (::geteuid() == 0) words.push_back("--allow-run-as-root");
  if (!std::getenv("OMP_NUM_THREADS"))
    words.insert(words.end(), {"-x", "OMP_NUM_THREADS=" + std::to_string(share)});
  return words;
}

// The processes that the launcher has on this machine end together: each waits for the others before. One
// that is still there long after another was stopped, or hangs, where its own thread cannot tell
// (processes/mpi.cpp).
class Watch {
 public:
  Watch(pid_t launcher, int count) : launcher_(launcher), count_(static_cast<std::size_t>(count)) {}

  void look() {
    const std::vector<pid_t> there = processes();
    if (first_gone_.empty())
      for (const auto& [process, rank] : ranks_)
        if (std::find(there.begin(), there.end(), process) == there.end()) first_gone_ = rank;
    if (there.empty() || there.size() == count_) complete_ = Clock::now();
    if (told_ || Clock::now() - complete_ < patience) return;
    told_ = true;
    for (const pid_t process : there) {
      std::fprintf(
          stderr,
          "vitral: process %s has not ended %d s after another: it was stopped or hangs; all end, continue "
          "with --resume auto\n",
          ranks_[process].c_str(), static_cast<int>(patience.count()));
      ::kill(process, SIGKILL);
    }
  }
  /// Whether it has said why the job ended.
  bool told() const { return told_; }
  /// Which process, as far as one could see, ended before the others: "process 1", else "one of the
  /// processes".
  std::string first_gone() const {
    return first_gone_.empty() ? "one of the processes" : "process " + first_gone_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds patience{20};

  std::vector<pid_t> processes() {
    std::ifstream file(fmt::format("/proc/{0}/task/{0}/children", launcher_));
    std::vector<pid_t> out;
    for (pid_t process = 0; file >> process;) {
      if (!ranks_.contains(process))
        if (const std::string rank = rank_of(process); !rank.empty()) ranks_[process] = rank;
      if (ranks_.contains(process)) out.push_back(process);
    }
    return out;
  }
  static std::string rank_of(pid_t process) {
    std::ifstream file(fmt::format("/proc/{}/environ", process), std::ios::binary);
    constexpr std::string_view name = "OMPI_COMM_WORLD_RANK=";
    for (std::string variable; std::getline(file, variable, '\0');)
      if (variable.starts_with(name)) return variable.substr(name.size());
    return "";
  }

  pid_t launcher_;
  std::size_t count_;
  std::map<pid_t, std::string> ranks_;  // of all that were there
  std::string first_gone_;
  Clock::time_point complete_ = Clock::now();  // when all of them, or none, were last seen
  bool told_ = false;
};

}  // namespace

Group& processes() {
  if (!opened) {
    if (!is_one_of_several()) return alone();
    opened = open_mpi();
  }
  return *opened;
}

int local_rank() {
  for (const char* name :
       {"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID", "PMI_LOCAL_RANK"})
    if (std::getenv(name)) return std::max(number_in(name), 0);
  return 0;
}

std::string binding_problem(int threads) {
  const int cores = core_count(), local = std::max(number_in("OMPI_COMM_WORLD_LOCAL_SIZE"), 1);
  const auto all = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  if (cores < threads && cores < all)
    return fmt::format(
        "its {} compute threads share {} of the machine's {} cores, to which the launcher bound it; start "
        "with "
        "mpirun --bind-to none, or with vitral train --processes N",
        threads, cores, all);
  if (std::getenv("OMPI_COMM_WORLD_SIZE") && cores * local < all)
    return fmt::format(
        "the launcher bound it to {} of the machine's {} cores, {} processes are here; start with mpirun "
        "--map-by "
        "slot:PE={} --bind-to core, or with vitral train --processes N",
        cores, all, local, all / local);
  return "";
}

Group* open_group() { return opened && !opened->is_one() ? opened.get() : nullptr; }

void require_one_process(const std::string& what) {
  VITRAL_CHECK(processes().is_one(), "{} by one process; leave out --processes", what);
}

int start_processes(int count, const std::vector<std::string>& arguments) {
  VITRAL_CHECK(count >= 1, "--processes: {} must be at least 1", count);
  VITRAL_CHECK(!std::getenv("OMPI_COMM_WORLD_SIZE"),
               "--processes: this is a process of mpirun already; leave it out");
  std::vector<std::string> words = launcher(count);
  words.push_back(std::filesystem::read_symlink(this_program).string());
  words.insert(words.end(), arguments.begin(), arguments.end());

  const StopSignals stop;
  std::array<int, 2> errors{};
  if (::pipe2(errors.data(), O_CLOEXEC) != 0) throw_error("--processes: {}", std::strerror(errno));
  Subprocess job("mpirun", words,
                 {.err = errors[1], .what = "--processes: mpirun", .remedy = "install openmpi-bin"});
  ::close(errors[1]);
  Told told;
  std::thread reader([&told, from = errors[0]] {
    std::array<char, 4096> buffer;
    for (ssize_t n; (n = ::read(from, buffer.data(), buffer.size())) > 0 || (n < 0 && errno == EINTR);)
      if (n > 0) told.add({buffer.data(), static_cast<std::size_t>(n)});
    told.finish();
    ::close(from);
  });
  bool asked = false;
  Watch watch(job.id(), count);
  while (job.running()) {
    watch.look();
    // mpirun ends a job on SIGTERM, but hands this one on.
    if (stop.requested() && !std::exchange(asked, true)) job.send(SIGUSR1);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  reader.join();
  const int result = job.status();
  // Of SIGUSR1, which it hands on, mpirun says nothing, and now and then of another.
  if (result != 0 && !told.said() && !watch.told()) {
    const std::string how = result > 128 ? "was ended by " + signal_name(result - 128)
                                         : fmt::format("ended with status {}", result);
    std::fprintf(stderr, "vitral: %s %s; all processes end, continue with --resume auto\n",
                 watch.first_gone().c_str(), how.c_str());
  }
  return result;
}

}  // namespace vitral
