// What a run tells of itself while it trains: progress and messages for people, records for the run folder.
#pragma once
#include <cstdio>
#include <string>
#include <vector>

#include "processes/group.h"
#include "train/config.h"
#include "train/pipeline.h"
#include "train/run/position.h"
#include "train/run/progress.h"
#include "train/run/run_folder.h"

namespace vitral::train {

/// Seconds on a clock that never goes back.
double now();

class Reporter {
 public:
  /// Progress goes to `out`, records to the folder once it is open. Without a folder, as one of several
  /// processes of which another reports, only messages are shown, with the number of the process.
  Reporter(const TrainConfig& config, RunFolder* folder, std::FILE* out, const Group& group);

  void message(const std::string& line);
  /// Training begins. data_seconds, here and below: how long it has waited for data so far.
  void start(double data_seconds);
  /// The step before `at` is done.
  void step(const Position& at, const StepPipeline::Done& step, std::int64_t total_steps,
            double data_seconds);
  /// The validation of the epoch of `at`, which began at `start` (now()): no part of images a second.
  void validation(const Position& at, const std::vector<models::NamedValue>& values, double start);
  /// Ends the progress bar.
  void finish() { progress_.finish(); }

 private:
  const TrainConfig& config_;
  RunFolder* folder_;
  std::FILE* out_;
  const Group& group_;
  Progress progress_;
  // Of the time since the last record; its rates are shown until the next.
  double start_ = 0, data_start_ = 0;
  std::int64_t images_ = 0;
  double wait_ = 0;
  double rate_ = 0, data_wait_ = 0;
};

}  // namespace vitral::train
