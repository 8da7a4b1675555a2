// A training on two processes, of which one is killed, stopped or told to stop, or its launcher is: all end,
// within 30 seconds, and what goes on later, with one process or two, ends as if nothing had been.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"
#include "base/signals.h"
#include "tests/torture/kind.h"
#include "tests/torture/outcome.h"

namespace vitral::torture {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

pid_t parent_of(const std::string& process) {
  const std::string stat = read("/proc/" + process + "/stat");
  const auto end = stat.rfind(')');  // of the program's name
  return end == std::string::npos ? 0 : std::atoi(stat.c_str() + end + 3);
}

// The process of this rank that mpirun, a child of `launcher`, has started; 0: it is not there.
pid_t process_of(pid_t launcher, int rank) {
  std::error_code gone;
  for (fs::directory_iterator it("/proc", gone), end; !gone && it != end; it.increment(gone)) {
    const std::string name = it->path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t parent = parent_of(name);
    if (parent <= 1 || parent_of(std::to_string(parent)) != launcher) continue;
    const std::string environment = '\0' + read(it->path() / "environ");
    if (environment.find(fmt::format("{}OMPI_COMM_WORLD_RANK={}{}", '\0', rank, '\0')) != std::string::npos)
      return std::atoi(name.c_str());
  }
  return 0;
}

class Processes : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    const std::string folder = shop / "processes";
    fs::create_directories(folder);
    for (const char* name : {"train.h5", "val.h5", "config.yaml"})
      fs::copy(shop / name, folder + "/" + name, fs::copy_options::skip_existing);
    const auto timed = [&](int processes) {
      fs::remove_all(folder + "/run");
      const Result r = Program(shop.tools, folder, training(processes)).wait();
      if (r.status != 0) throw_error("undisturbed, {} processes end with {}: {}", processes, r.status, r.err);
      return r.seconds;
    };
    timed(1);
    expected_ = end_of_training(folder + "/run");
    if (std::system("command -v mpirun >/dev/null 2>&1") != 0) {
      fmt::print("processes: no mpirun here (openmpi-bin), none are tried\n");
      return;
    }
    seconds_ = timed(2);
    if (const std::string what = difference(expected_, end_of_training(folder + "/run")); !what.empty())
      throw_error("undisturbed, two processes give another result than one: {}", what);
  }

  bool run(Case& c) override {
    if (seconds_ == 0) return false;
    for (const char* name : {"train.h5", "val.h5", "config.yaml"}) c.take(name);
    // SIGSTOP costs twenty seconds.
    const std::size_t manner = c.random.below(10);
    const char* what = manner == 0 ? "stopped" : manner < 6 ? "killed" : "told to stop";
    c.command = fmt::format("train, one {}", what);
    const int times = 1 + static_cast<int>(c.random.below(2));
    for (int i = 0; i < times; ++i)
      if (!disturb(c, manner)) return true;
    const Result r = c.run(training(1 + static_cast<int>(c.random.below(2))));
    if (!c.expect(r.status == 0, "the training goes on and ends with 0", r.err)) return true;
    const std::string difference_there = difference(expected_, end_of_training(c / "run"));
    c.expect(difference_there.empty(), "the result of an undisturbed training", difference_there);
    return true;
  }

 private:
  static Command training(int processes) {
    return {.arguments = {"train", "config.yaml", "train.slices=2", "--resume", "auto",
                          fmt::format("--processes={}", processes)},
            .hangs_after = 120,
            .environment = {"OMP_NUM_THREADS=1"}};
  }

  bool disturb(Case& c, std::size_t manner) {
    const auto program = c.start(training(2));
    if (!program->ends_within(c.random.uniform(0.1, seconds_))) {
      const int rank = static_cast<int>(c.random.below(2));
      constexpr std::array stops{SIGTERM, SIGINT, SIGUSR1, SIGHUP};
      const int signal = manner == 0 ? SIGSTOP : manner < 6 ? SIGKILL : stops[c.random.below(stops.size())];
      // What is told to stop before it listens dies of it.
      const pid_t process =
          manner >= 6 && c.random.below(2) == 0 ? program->id() : process_of(program->id(), rank);
      if (process > 0) ::kill(process, signal);
      // One that does not even start is waited for longer.
      const bool soon = program->ends_within(30);
      if (!c.expect(soon || program->ends_within(45), "all end",
                    fmt::format("{} to process {}", signal_name(signal), rank)))
        return false;
      const Result r = program->wait();
      if (!c.expect(soon || r.err.find("not all processes have started after 60 s") != std::string::npos,
                    "all end within 30 seconds",
                    fmt::format("{} to process {}: {}", signal_name(signal), rank, r.err)))
        return false;
      const bool before_it_listened = process == program->id() && r.status == 128 + signal;
      // While MPI ends in a process whose run is through: mpirun then reports the signal.
      const bool was_through =
          manner >= 6 && r.status == 128 + signal && fs::exists(c / "run/checkpoints/step-000000030");
      if (r.status == 0 || before_it_listened || was_through) return true;
      return c.expect(
          r.err.find("vitral: process ") != std::string::npos ||
              r.err.find("vitral: one of the processes ") != std::string::npos || process <= 0,
          "a line that says which process, or that one of them",
          fmt::format("status {} after {} to process {}: {}", r.status, signal_name(signal), rank, r.err));
    }
    const Result r = program->wait();
    return c.expect(r.status == 0, "an undisturbed training ends with 0", r.err);
  }

  Outcome expected_;
  double seconds_ = 0;  // of two processes, undisturbed; 0: there is no launcher
};

const Registered<Processes> registered{"processes", "two processes, of which one ends"};

}  // namespace
}  // namespace vitral::torture
