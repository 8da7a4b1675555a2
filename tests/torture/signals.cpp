// Signals at any moment, to the process and to each of its threads, one, two, or hundreds: those that ask a
// command to stop stop it as the manual says, the others do nothing; what goes on later ends as if nothing
// had been.
#include "base/signals.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <map>

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "tests/torture/kind.h"
#include "tests/torture/outcome.h"

namespace vitral::torture {
namespace {

namespace fs = std::filesystem;

constexpr std::array stops{SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU};
constexpr std::array harmless{SIGPIPE, SIGWINCH, SIGCHLD, SIGURG, SIGSTOP};

std::vector<pid_t> threads_of(pid_t process) {
  std::vector<pid_t> out;
  std::error_code gone;
  for (fs::directory_iterator it(fmt::format("/proc/{}/task", process), gone), end; !gone && it != end;
       it.increment(gone))
    out.push_back(static_cast<pid_t>(std::stol(it->path().filename())));
  return out;
}

// A command that writes, what it takes, and what is compared in the end.
struct Work {
  std::string name;
  std::vector<std::string> takes;
  std::vector<std::string> first, again;  // the same, to go on
  std::string output;                     // a file, or a run folder
  std::string begun;                      // exists as soon as there is something to lose
};

std::vector<Work> all_work() {
  const std::vector<std::string> train{"train", "config.yaml", "--resume", "auto"};
  return {{"train", {"train.h5", "val.h5", "config.yaml"}, train, train, "run", "run/checkpoints"},
          {"teach",
           {"plain.h5", "teacher"},
           {"teach", "plain.h5", "--teacher", "teacher", "--views", "40", "--batch", "1"},
           {},
           "plain.h5",
           "plain.h5.teach"},
          {"embed",
           {"photos", "student.safetensors"},
           {"embed", "student.safetensors", "photos", "-o", "e.h5", "--batch", "1"},
           {},
           "e.h5",
           "e.h5.embed"},
          {"pack", {"photos"}, {"pack", "photos", "-o", "p.h5", "--size", "200", "--force"}, {}, "p.h5", ""}};
}

Outcome result_of(const std::string& path) {
  return fs::is_directory(path) ? end_of_training(path) : Outcome{{"", contents_of(path)}};
}

class Signals : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    fs::create_directories(shop / "signals");
    for (auto& work : work_) {
      if (work.again.empty()) work.again = work.first;
      for (const auto& name : work.takes)
        fs::copy(shop / name, shop / ("signals/" + name),
                 fs::copy_options::recursive | fs::copy_options::skip_existing);
      const Result r = Program(shop.tools, shop / "signals", with_threads(work.first)).wait();
      if (r.status != 0) throw_error("undisturbed, {} ends with {}: {}", work.name, r.status, r.err);
      seconds_[work.name] = r.seconds;
      expected_[work.name] = result_of(shop / ("signals/" + work.output));
    }
  }

  bool run(Case& c) override {
    const Work& work = work_[c.random.below(2) ? 0 : c.random.below(work_.size())];
    constexpr std::array manners{"to the process", "to threads", "in storms", "harmless"};
    const std::size_t manner = c.random.below(manners.size());
    c.command = fmt::format("{}, {}", work.name, manners[manner]);
    for (const auto& name : work.takes) c.take(name);
    const int times = work.name == "train" ? 1 + static_cast<int>(c.random.below(2)) : 1;
    for (int i = 0; i < times; ++i)
      if (!disturb(c, work, manner)) return true;
    const Result r = c.run(with_threads(work.again));
    const bool there = work.name == "teach" && r.err.find("has /embeddings already") != std::string::npos;
    if (!there && !c.expect(r.status == 0, "the command goes on and ends with 0", r.err)) return true;
    const std::string what = difference(expected_[work.name], result_of(c / work.output));
    c.expect(what.empty(), "the result of an undisturbed command", what);
    return true;
  }

 private:
  static Command with_threads(const std::vector<std::string>& arguments) {
    return {.arguments = arguments, .environment = {"OMP_NUM_THREADS=2"}};
  }

  bool disturb(Case& c, const Work& work, std::size_t manner) {
    const bool begun_before = !work.begun.empty() && fs::exists(c / work.begun);
    const Outcome before = begun_before ? outcome_of(c.folder()) : Outcome();
    const auto program = c.start(with_threads(work.again));
    const auto signal = [&] {
      return manner == 3 ? harmless[c.random.below(harmless.size())] : stops[c.random.below(stops.size())];
    };
    int bursts =
        manner == 2 ? 40 + static_cast<int>(c.random.below(200)) : 1 + static_cast<int>(c.random.below(3));
    double pause = c.random.uniform(0, 1.2 * seconds_[work.name]);
    std::vector<int> sent;
    for (; bursts > 0 && !program->ends_within(pause); --bursts) {
      pause = manner == 2 ? c.random.uniform(0, 2e-3) : c.random.uniform(0, 0.2);
      sent.push_back(signal());
      ::kill(program->id(), SIGCONT);  // what was stopped
      if (manner == 0 || (manner == 2 && c.random.below(2) == 0)) {
        ::kill(program->id(), sent.back());
        continue;
      }
      for (const pid_t thread : threads_of(program->id()))
        ::syscall(SYS_tgkill, program->id(), thread, sent.back());
    }
    ::kill(program->id(), SIGCONT);
    const Result r = program->wait();
    c.tried = static_cast<std::int64_t>(sent.size());
    if (r.hung) return c.expect_alive(r);
    if (r.status == 0) return true;
    std::string names;
    for (const int s : sent) names += " " + signal_name(s);
    if (r.status > 128) {
      // Before a command listens, and packing always, a signal ends it: then nothing is lost.
      const bool by_us = std::find(sent.begin(), sent.end(), r.status - 128) != sent.end();
      const bool nothing = work.begun.empty() ||
                           (begun_before ? outcome_of(c.folder()) == before : !fs::exists(c / work.begun));
      return c.expect(by_us && nothing, "a command that listens to signals is not killed by one",
                      fmt::format("killed by {} after {:.2f} s, sent:{}\n{}", signal_name(r.status - 128),
                                  r.seconds, names, r.err));
    }
    if (r.err.find("has /embeddings already") != std::string::npos) return true;
    return c.expect_one_line(r) &&
           c.expect(work.name != "train" && r.err.find("stopped by SIG") != std::string::npos,
                    work.name == "train" ? "a training that is stopped ends with 0"
                                         : "a line that says what stopped it",
                    fmt::format("exit status {}, sent:{}\n{}", r.status, names, r.err));
  }

  std::vector<Work> work_ = all_work();
  std::map<std::string, Outcome> expected_;
  std::map<std::string, double> seconds_;
};

const Registered<Signals> registered{"signals", "signals to the process and to its threads"};

}  // namespace
}  // namespace vitral::torture
