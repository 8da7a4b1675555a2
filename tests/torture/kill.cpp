// SIGKILL at any moment; half of them at a chosen call into the system, of trainings one that writes a
// checkpoint. Whatever is killed and begun again ends as if nothing had been.
#include <filesystem>

#include <fmt/format.h>

#include "tests/torture/jobs.h"

namespace vitral::torture {
namespace {

class Kill : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    undisturbed_ = run_undisturbed(shop);
    std::erase_if(undisturbed_, [](const Undisturbed& u) { return !u.job->whole || u.job->prints; });
    run_ = outcome_of(shop / "run");
    const std::string trace = shop / "kill.trace";
    const Result r = shop.run({.arguments = {"train", "config.yaml", "train.output=traced"}, .trace = trace});
    seconds_ = r.seconds;
    calls_ = read_trace(trace);
    std::filesystem::remove(trace);
    std::filesystem::remove_all(shop / "traced");
  }

  bool run(Case& c) override {
    c.tried = 0;
    if (c.number % 2 == 0)
      kill_training(c);
    else
      kill_job(c, undisturbed_[static_cast<std::size_t>(c.number / 2) % undisturbed_.size()]);
    return true;
  }

 private:
  // A command that is killed at a random time or, as often, at a call that changes files in such a folder.
  Result run_and_kill(Case& c, Command command, double seconds, const std::vector<TracedCall>& calls,
                      const std::string& folder) {
    std::map<std::string, int> counts;
    std::vector<std::pair<std::string, int>> chosen;
    for (const auto& call : calls) {
      const int k = counts[call.call]++;
      if (call.path.find(folder) != std::string::npos && call.call != "read" && call.call != "pread" &&
          call.call != "mmap")
        chosen.emplace_back(call.call, k);
    }
    if (c.random.below(2) == 0) {
      const auto& [call, k] = chosen[c.random.below(chosen.size())];
      const char* moments[] = {"kill-before", "kill-middle", "kill-after"};
      command.fault = fmt::format("{}:0:{}:{}", call, k, moments[c.random.below(3)]);
    } else {
      command.kill_after = c.random.uniform(0, 1.2 * seconds);
    }
    const Result r = c.run(command);
    c.tried += r.killed();
    if (r.killed()) return r;
    // The chosen call may be that of a child (data/hdf5/file.h), whose end the command tells.
    if (!command.fault.empty() && r.status == 1)
      c.expect_one_line(r);
    else
      c.expect(r.status == 0, "a command that is not killed in time ends with 0", r.err);
    return r;
  }

  void kill_training(Case& c) {
    c.command = "train, 30 steps";
    for (const char* name : {"train.h5", "val.h5", "config.yaml"}) c.take(name);
    const Command command{.arguments = {"train", "config.yaml", "--resume", "auto"}};
    for (auto kills = 1 + c.random.below(3); kills > 0 && c.failures().empty(); --kills)
      run_and_kill(c, command, seconds_, calls_, "/checkpoints/");
    const Result r = c.run(command);
    if (!c.expect(r.status == 0, "the last run ends with 0", r.err)) return;
    const std::string what = difference(run_, outcome_of(c / "run"));
    c.expect(what.empty(), "the run folder of an undisturbed training", what);
  }

  void kill_job(Case& c, const Undisturbed& u) {
    c.command = u.job->name;
    take(c, *u.job);
    for (auto kills = 1 + c.random.below(2); kills > 0 && c.failures().empty(); --kills) {
      run_and_kill(c, {.arguments = u.job->arguments}, u.seconds, u.calls, "");
      expect_old_or_new(c, u);
    }
    expect_again(c, u);
  }

  std::vector<Undisturbed> undisturbed_;
  Outcome run_;
  double seconds_ = 0;
  std::vector<TracedCall> calls_;  // of the training
};

const Registered<Kill> registered{"kill", "SIGKILL at any moment", 0.7};

}  // namespace
}  // namespace vitral::torture
