// What came out of the runs, and what that says of the variants.
#pragma once
#include <string>
#include <vector>

#include "ablate/plan.h"
#include "infer/measure/statistics.h"

namespace vitral::ablate {

/// One number of a run.
struct Measure {
  std::string key;    // of ablation.json: mean_iou
  std::string title;  // of tables and plots: mIoU
  std::string where;  // JSON pointer in what `vitral eval --json` prints; "": it has another source
  bool more_is_better = true;
  int decimals = 3;
  bool varies = true;  // with the seed
};

/// How far a run has trained, by its records. Seconds come from images/s of each since the one before: so
/// neither validations count nor the time between a checkpoint and a crash after it.
struct Trained {
  std::int64_t steps = 0, images = 0;
  double seconds = 0;
};
Trained trained(const Run& run, const std::string& folder);

/// What became of a run.
struct Outcome {
  State state = State::fresh;
  std::string error;           // of a run that failed
  std::vector<double> values;  // of a run that is done, one a measure; NaN: it has none
};

/// Reads the files of a run that is done. `seconds` are trained(), `parameters` those of its weights. Error:
/// files that are damaged, naming them.
Outcome outcome_of_done(const Run& run);

/// Of one measure over the seeds of a variant: the mean, and its difference to the first variant over the
/// seeds that both have.
struct Summary {
  infer::Estimate mean, difference;

  bool differs() const { return difference.differs_from_zero(); }
  bool better(const Measure& measure) const { return (difference.mean > 0) == measure.more_is_better; }
};

struct Results {
  const Grid* grid = nullptr;
  const std::vector<Run>* runs = nullptr;
  std::vector<Outcome> outcomes;  // one a run

  /// The measures that some run has.
  std::vector<std::size_t> measures() const;
  /// Of a variant, a measure: NaN where there are no such values.
  Summary summary(std::size_t variant, std::size_t measure) const;
  /// The runs of a variant are [first, first + seeds).
  std::size_t first_run(std::size_t variant) const { return variant * grid->seeds.size(); }
  std::size_t count(State state) const;
  std::size_t failed() const;
};

const std::vector<Measure>& all_measures();

}  // namespace vitral::ablate
