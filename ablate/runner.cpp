#include "ablate/runner.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>

#include "base/error.h"
#include "base/files/atomic.h"
#include "processes/subprocess.h"
#include "tensor/device.h"

namespace vitral::ablate {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr auto pause = 20ms;
constexpr auto patience = 20s;                 // for the checkpoint of what a killed vitral ablate started
constexpr std::size_t longest_tail = 1 << 16;  // bytes of a log in which the last error is looked for

// A file without a name, for what a program prints.
class Capture {
 public:
  Capture() : file_(std::tmpfile()) {
    if (!file_) throw_error("no temporary file can be made: {}; make room in /tmp", std::strerror(errno));
  }
  int descriptor() const { return ::fileno(file_.get()); }
  std::string text() const {
    std::string out;
    std::array<char, 1 << 16> buffer;
    for (std::size_t n; (n = read_at(descriptor(), out.size(), buffer.data(), buffer.size())) > 0;)
      out.append(buffer.data(), n);
    return out;
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
};

// One run on its way: trained, then measured. What goes wrong is its error().
class Job {
 public:
  Job(const Run& run, std::size_t index, const std::map<std::string, std::string>& environment)
      : run_(run), index_(index), environment_(environment) {
    guard([this] { train(); });
  }

  std::size_t index() const { return index_; }
  /// When it has ended: "" where it is done.
  const std::string& error() const { return error_; }
  /// A training saves a checkpoint, a measurement is begun anew another time.
  void stop() {
    stopping_ = true;
    if (program_) program_->send(SIGTERM);
  }
  /// Whether it goes on; looks after its programs.
  bool running() {
    bool goes_on = false;
    if (error_.empty()) guard([&] { goes_on = look_after(); });
    return goes_on;
  }

 private:
  void guard(const std::function<void()>& work) try { work(); } catch (const std::exception& e) {
    error_ = e.what();
  }
  void train();
  void measure();
  void keep_measurement();
  void start(std::vector<std::string> words);
  bool look_after();
  std::string what_it_said() const;

  const Run& run_;
  std::size_t index_;
  const std::map<std::string, std::string>& environment_;
  Descriptor log_;
  std::int64_t log_begin_ = 0;  // of what the running program says
  std::optional<Capture> out_;
  std::unique_ptr<Subprocess> program_;
  /// What is measured: without a background, then with each. 0: it trains.
  std::size_t measurement_ = 0;
  json evaluation_;
  bool stopping_ = false;
  std::string error_;
};

void Job::train() {
  create_folders(run_.folder());
  write_file_atomic(run_.config_file(), train::to_yaml(run_.config));
  log_ = Descriptor(::open(run_.log_file().c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (log_ < 0) throw_error("{}: cannot write: {}", run_.log_file(), std::strerror(errno));
  start({"vitral", "train", run_.config_file(), "--resume", "auto", "--json"});
}

void Job::start(std::vector<std::string> words) {
  log_begin_ = ::lseek(log_, 0, SEEK_END);
  out_.emplace();
  const std::string what = words[0] + " " + words[1];
  program_ = std::make_unique<Subprocess>(this_program, std::move(words),
                                          Subprocess::Options{.environment = environment_,
                                                              .out = out_->descriptor(),
                                                              .err = log_,
                                                              .what = what,
                                                              .remedy = "is the program still there?"});
}

void Job::measure() {
  const train::DataConfig& data = run_.config.data;
  std::vector<std::string> words{"vitral", "eval",   "--json", "--device", run_.config.train.device,
                                 "--exif", data.exif};
  if (!data.images.empty()) words.insert(words.end(), {"--images", data.images});
  if (!data.embeddings.empty()) words.insert(words.end(), {"--embeddings", data.embeddings});
  if (measurement_++ > 0) words.insert(words.end(), {"--background", run_.backgrounds[measurement_ - 2]});
  words.insert(words.end(), {"--", run_.folder()});
  words.insert(words.end(), data.val.begin(), data.val.end());
  start(std::move(words));
}

std::string Job::what_it_said() const {
  const std::int64_t end = ::lseek(log_, 0, SEEK_END);
  const std::int64_t begin = std::max(log_begin_, end - static_cast<std::int64_t>(longest_tail));
  std::string said(static_cast<std::size_t>(end - begin), '\0');
  said.resize(read_at(log_, static_cast<std::uint64_t>(begin), said.data(), said.size()));
  return said;
}

void Job::keep_measurement() {
  const json said = json::parse(out_->text());
  if (measurement_ == 1)
    evaluation_ = said;
  else
    evaluation_["backgrounds"][run_.backgrounds[measurement_ - 2]] = said.at("segmentation").at("mean_iou");
}

bool Job::look_after() {
  if (program_->running()) return true;
  if (program_->status() != 0) throw Error(why_it_failed(what_it_said(), program_->status()));
  if (measurement_ > 0) {
    keep_measurement();
    if (measurement_ > run_.backgrounds.size()) {
      write_file_atomic(run_.evaluation_file(), evaluation_.dump() + "\n");
      return false;
    }
  } else {
    const json summary = json::parse(out_->text(), nullptr, /*allow_exceptions=*/false);
    const json by = summary.is_object() ? summary.value("stopped_by", json()) : json();
    if (by.is_string()) throw_error("was stopped by {}", by.get<std::string>());
  }
  if (stopping_) throw Error("was stopped by a signal");
  measure();
  return true;
}

}  // namespace

std::string why_it_failed(const std::string& log, int status) {
  constexpr std::string_view prefix = "vitral: ";
  std::string last;
  for (std::size_t begin = 0; begin < log.size();) {
    const std::size_t end = std::min(log.find('\n', begin), log.size());
    const std::string_view line = std::string_view(log).substr(begin, end - begin);
    if (line.starts_with(prefix)) last = line.substr(prefix.size());
    begin = end + 1;
  }
  if (status > 128)
    return "was ended by " + signal_name(status - 128) + (last.empty() ? "" : " after: " + last);
  return last.empty() ? fmt::format("ended with status {}", status) : last;
}

FolderLock::FolderLock(const std::string& folder) {
  create_folders(folder);
  const std::string path = folder + "/.lock";
  // Without O_CLOEXEC: the programs that it starts keep it.
  descriptor_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT, 0666));  // NOLINT(android-cloexec-open)
  if (descriptor_ < 0) throw_error("{}: cannot write: {}; choose another folder", path, std::strerror(errno));
  const auto end = std::chrono::steady_clock::now() + patience;
  // Some network file systems have no locks; that is right, too, only not protected.
  for (bool told = false; ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;) {
    VITRAL_CHECK(std::chrono::steady_clock::now() < end,
                 "{}: another vitral ablate works in this folder; wait for it, or choose another one with -o",
                 folder);
    if (!std::exchange(told, true))
      std::fprintf(stderr, "%s: waits for runs of an earlier vitral ablate to save their checkpoints\n",
                   folder.c_str());
    std::this_thread::sleep_for(pause);
  }
}

void run_all(const std::vector<Run>& runs, const std::vector<State>& states, const StopSignals& stop,
             const RunnerOptions& options) {
  std::map<std::string, std::string> environment;
  if (options.jobs > 1 && !std::getenv("OMP_NUM_THREADS"))
    environment["OMP_NUM_THREADS"] = std::to_string(std::max(cpu_threads() / options.jobs, 1));
  std::list<Job> jobs;
  std::size_t next = 0;
  const auto more = [&] {
    while (next < runs.size() && states[next] == State::done) ++next;
    return next < runs.size() && !stop.requested();
  };
  for (bool asked = false; more() || !jobs.empty();) {
    while (more() && jobs.size() < static_cast<std::size_t>(options.jobs)) {
      jobs.emplace_back(runs[next], next, environment);
      ++next;
    }
    if (stop.requested() && !std::exchange(asked, true))
      for (Job& job : jobs) job.stop();
    for (auto job = jobs.begin(); job != jobs.end();) {
      if (job->running()) {
        ++job;
        continue;
      }
      // What we stopped is no failure.
      if (!asked || job->error().empty()) options.ended(job->index(), job->error());
      job = jobs.erase(job);
    }
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace vitral::ablate
