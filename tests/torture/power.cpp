// The power is cut at any call. The disk then has what was synced, and of the rest any part in any order; the
// command on this disk goes on from complete files, and ends as if nothing had been.
#include <filesystem>

#include <fmt/format.h>

#include "tests/torture/disk.h"
#include "tests/torture/jobs.h"

namespace vitral::torture {
namespace {

class Power : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    undisturbed_ = run_undisturbed(shop);
    std::erase_if(undisturbed_, [](const Undisturbed& u) { return !u.job->whole || u.job->prints; });
  }

  bool run(Case& c) override {
    const Undisturbed& u = undisturbed_[static_cast<std::size_t>(c.number) % undisturbed_.size()];
    const DiskModel model = c.random.below(2) == 0 ? DiskModel::posix : DiskModel::journal;
    c.command = fmt::format("{}, {}", u.job->name, model == DiskModel::posix ? "posix" : "journal");
    take(c, *u.job);
    const std::string before = c.folder() + ".before";
    std::filesystem::rename(c.folder(), before);
    Disk disk(before);
    const auto calls = c.random.below(u.calls.size() + 1);
    for (std::size_t i = 0; i < calls; ++i) disk.apply(u.calls[i]);
    disk.cut_power(model, c.random, c.folder());
    std::filesystem::remove_all(before);
    expect_old_or_new(c, u);
    expect_again(c, u);
    if (!c.failures().empty())
      c.expect(false, "all this, too,", fmt::format("after {} of {} calls", calls, u.calls.size()));
    return true;
  }

 private:
  std::vector<Undisturbed> undisturbed_;
};

const Registered<Power> registered{"power", "the power is cut", 0.3};

}  // namespace
}  // namespace vitral::torture
