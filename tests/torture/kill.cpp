// SIGKILL at any moment; half of them at a chosen call into the system that writes a checkpoint. Whatever is
// killed and begun again ends as if nothing had been.
#include <filesystem>

#include <fmt/format.h>

#include "tests/torture/kind.h"
#include "tests/torture/outcome.h"
#include "tests/torture/trace.h"

namespace vitral::torture {
namespace {

class Kill : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    undisturbed_ = outcome_of(shop / "run");
    const std::string trace = shop / "kill.trace";
    const Result r = shop.run({.arguments = {"train", "config.yaml", "train.output=traced"}, .trace = trace});
    seconds_ = r.seconds;
    std::map<std::string, int> counts;
    for (const auto& call : read_trace(trace)) {
      const int k = counts[call.call]++;
      if (call.path.find("/checkpoints/") != std::string::npos && call.call != "read" && call.call != "pread")
        calls_.emplace_back(call.call, k);
    }
    std::filesystem::remove(trace);
    std::filesystem::remove_all(shop / "traced");
  }

  bool run(Case& c) override {
    c.command = "train";
    c.tried = 0;
    for (const char* name : {"train.h5", "val.h5", "config.yaml"}) c.take(name);
    Command command{.arguments = {"train", "config.yaml", "--resume", "auto"}};
    for (auto kills = 1 + c.random.below(3); kills > 0; --kills) {
      Command disturbed = command;
      if (c.random.below(2) == 0) {
        const auto& [call, k] = calls_[c.random.below(calls_.size())];
        const char* moments[] = {"kill-before", "kill-middle", "kill-after"};
        disturbed.fault = fmt::format("{}:0:{}:{}", call, k, moments[c.random.below(3)]);
      } else {
        disturbed.kill_after = c.random.uniform(0, 1.2 * seconds_);
      }
      const Result r = c.run(disturbed);
      c.tried += r.killed();
      if (!r.killed() && !c.expect(r.status == 0, "a run that goes on ends with 0", r.err)) return true;
    }
    const Result r = c.run(command);
    if (c.expect(r.status == 0, "the last run ends with 0", r.err)) {
      const std::string what = difference(undisturbed_, outcome_of(c / "run"));
      c.expect(what.empty(), "the run folder of an undisturbed training", what);
    }
    return true;
  }

 private:
  Outcome undisturbed_;
  double seconds_ = 0;
  std::vector<std::pair<std::string, int>> calls_;  // names, and the number among the calls of that name
};

const Registered<Kill> registered{"kill", "SIGKILL at any moment"};

}  // namespace
}  // namespace vitral::torture
