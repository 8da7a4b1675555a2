// `vitral ablate`: a table of experiments (ablate/grid.h), run where it was stopped, and what comes of it:
//
//   DIR/runs/VARIANT/SEED/     an ordinary run folder, with evaluation.json and log.txt
//   DIR/ablation.json          every number of every run, means, intervals, differences
//   DIR/ablation.md .html .svg a table, a page, a plot; all are written anew after each run
#pragma once
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "ablate/results.h"
#include "base/signals.h"

namespace vitral::ablate {

struct Ablation {
  Grid grid;
  std::vector<Run> runs;
  std::vector<State> states;

  std::size_t left() const;  // runs that are not done
};

/// What there is to do and what is done. Writes nothing. Throws as read_grid(), plan_runs() and state_of().
Ablation open_ablation(const std::string& grid, const Overrides& overrides, const std::string& output,
                       const std::vector<std::string>& backgrounds = {});

struct TimeLeft {
  double seconds = 0;       // of training that is left, one run after the other
  std::string source = {};  // "images/s of 3 runs that are here"
};

/// How long the training will take that is left: from the runs that have begun, else from some seconds of the
/// first one, in a folder that is removed again. Error: that training fails, or a signal ends it.
TimeLeft estimate_time(const Ablation& ablation, const StopSignals& stop);

struct Progress {
  std::size_t ended = 0, all = 0;  // runs, those that were done before among them
  const Run* run = nullptr;        // the one that ended now
  const Outcome* outcome = nullptr;
};

/// Runs what is left, `jobs` at once, and writes the files after each run. Of a signal: as run_all(). Returns
/// what all runs came to. Throws where another vitral ablate works in `output`, or the files cannot be
/// written.
Results run_ablation(const Ablation& ablation, const std::string& output, int jobs, const StopSignals& stop,
                     const std::function<void(const Progress&)>& progress);

}  // namespace vitral::ablate
