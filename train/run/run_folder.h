// The folder of a run (docs/checkpoints.md): config.yaml, checkpoints, metrics.jsonl, TensorBoard's events.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "train/run/checkpoint.h"
#include "train/run/metrics.h"
#include "train/run/position.h"
#include "train/run/tensorboard.h"

namespace vitral::train {

class RunFolder {
 public:
  /// Decides where a run in this folder goes on; resume as train() takes it. A folder that holds a run is
  /// locked from here on. Writes nothing. UsageError: the folder holds a run that is not to be resumed.
  RunFolder(std::string path, int keep, std::string resume, std::vector<std::string>& warnings);

  /// What to go on from: a checkpoint, a run folder or a checkpoint of PyTorch; nothing for a fresh run.
  const std::optional<std::string>& source() const { return source_; }

  /// Makes the folder this run's: the configuration, and records cut back to where it goes on. Where the best
  /// checkpoint is not of its past, `at` forgets it: the next validation finds a new one. validation_pending:
  /// the validation at this step is still to come.
  void open(const std::string& config_yaml, Position& at, bool validation_pending,
            std::vector<std::string>& warnings);

  // From here on it is open.
  void record(const TrainRecord& record);
  void record(const ValRecord& record);
  /// The checkpoint of `at`; records so far are on the disk before it.
  void save(const Checkpoint& checkpoint, const Position& at, bool best);
  /// Makes `best` name the checkpoint of this step, which is there.
  void name_best(std::int64_t step) { store_->set_best(step); }
  /// Whether that would be the checkpoint that is there.
  bool saved(const Position& at) const { return saved_ == std::pair{at.step, at.batch}; }

 private:
  std::string path_;
  int keep_;
  bool resumes_;
  std::optional<std::string> source_;
  std::optional<CheckpointStore> store_;
  std::optional<MetricsWriter> metrics_;
  std::optional<TensorBoardWriter> tensorboard_;
  std::optional<std::pair<std::int64_t, std::int64_t>> saved_;  // step and batch
};

}  // namespace vitral::train
