// Runs what a plan leaves to do: each run by `vitral train` and `vitral eval`, in processes of their own, so
// that one that crashes is a row of the table and not its end.
#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "ablate/plan.h"
#include "base/files/descriptor.h"
#include "base/signals.h"

namespace vitral::ablate {

/// Keeps a second `vitral ablate` out of a folder, and this one waiting while what a killed one started saves
/// its checkpoint: its programs have the lock, too. UsageError: somebody works there.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);

 private:
  Descriptor descriptor_;
};

/// Of a program that failed: its last error line on stderr, or what else is known of its end.
std::string why_it_failed(const std::string& log, int status);

struct RunnerOptions {
  int jobs = 1;  // runs at once; each has its share of the cores, unless OMP_NUM_THREADS says how many
  /// After each run: its place in the plan, and why it failed, or "".
  std::function<void(std::size_t run, const std::string& error)> ended;
};

/// Trains and measures those of `runs` that are not done; one that has begun goes on where it stands. A
/// signal asks them to stop: they save a checkpoint, and this returns with the others not run.
void run_all(const std::vector<Run>& runs, const std::vector<State>& states, const StopSignals& stop,
             const RunnerOptions& options);

}  // namespace vitral::ablate
