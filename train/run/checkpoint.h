// Checkpoints of a run (docs/checkpoints.md): each appears whole or not at all, and a damaged one is noticed.
//
//   CheckpointStore store("runs/a", 3);                       // keeps the 3 newest, and the best
//   store.save({step, model, metadata, optimizer, state}, is_best);
//
//   std::vector<std::string> warnings;
//   if (auto path = latest_checkpoint("runs/a", warnings)) resume_from(load_checkpoint(*path, warnings));
//
// A process may be killed, or the disk run full, at any moment: what `latest` names stays complete and is
// never written to again.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/weights/safetensors.h"

namespace vitral::train {

struct Checkpoint {
  std::int64_t step = 0;
  data::NamedTensors model;                           // the names of the state dict
  std::map<std::string, std::string> model_metadata;  // __metadata__ of model.safetensors
  data::NamedTensors optimizer;
  nlohmann::json state;  // whatever else the trainer needs; numbers must be finite (JSON has no others)
};

class CheckpointStore {
 public:
  /// Creates the run folder and RUN/checkpoints where needed, and removes what a killed run left
  /// half-written. Holds a lock until destroyed: UsageError where another process trains in this folder, or
  /// for keep < 1.
  CheckpointStore(std::string run_folder, int keep);
  ~CheckpointStore();
  CheckpointStore(const CheckpointStore&) = delete;
  CheckpointStore& operator=(const CheckpointStore&) = delete;

  /// Durable when it returns. Then `latest`, and with `best` also `best`, names it, and checkpoints older
  /// than the `keep` newest are removed, but never those that `latest` or `best` names. A checkpoint of the
  /// same step stays where its contents are equal, and is replaced in one step where not. Checkpoints of
  /// later steps, from before a resume at an earlier one, stay until training has passed them. Throws Error,
  /// and leaves what was there, when it cannot write.
  void save(const Checkpoint& checkpoint, bool best);

  /// Makes `best` name the checkpoint of this step; where there is none, nothing is the best, and false comes
  /// back.
  bool set_best(std::int64_t step);

  /// What save() of this step removes: of what a run left that was killed or failed before it could.
  void remove_old(std::int64_t newest) const;

 private:
  std::string run_folder_;
  int keep_;
  int lock_ = -1;
};

/// Whether somebody has trained in this folder.
bool holds_run(const std::string& folder);
/// Whether a path is the folder, or in it.
bool lies_in(const std::string& path, const std::string& folder);

/// The checkpoint to resume from: the one that `latest` names, where it is complete and valid, else the
/// newest that is. Each one that had to be passed over adds a line to `warnings`. Nothing where there is none
/// (then a run starts anew); Error where there are some and none of them is valid.
std::optional<std::string> latest_checkpoint(const std::string& run_folder,
                                             std::vector<std::string>& warnings);

/// Loads a checkpoint folder, or the latest_checkpoint() of a run folder, after checking sizes and checksums.
/// UsageError for a path that is neither.
Checkpoint load_checkpoint(const std::string& path, std::vector<std::string>& warnings);

}  // namespace vitral::train
