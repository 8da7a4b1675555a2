// What a run folder tells about a training: the numbers of metrics.jsonl (docs/checkpoints.md) as columns.
#pragma once
#include <optional>
#include <string>
#include <vector>

namespace vitral::infer {

struct RunRecord {
  struct Train {
    std::vector<double> step, loss, lr, images_per_second;
  } train;
  struct Validation {
    std::vector<double> step, loss, cosine;
  } val;
  /// The day that the run began, "2026-11-26" in UTC, from the name of its first file for TensorBoard; ""
  /// where there is none. (Times of files change when they are copied.)
  std::string began;

  /// The index of the lowest validation loss.
  std::optional<std::size_t> best() const;
};

/// Whether `path` is a folder that holds metrics.jsonl.
bool is_run(const std::string& path);

/// Values that are missing, or null because they were not finite, become NaN; lines of other kinds are left
/// out. At most `max_lines` lines of training are kept, evenly spread, with the last one. UsageError: no run
/// there; Error: a line that is no record (the last may be cut off by a crash), naming it.
RunRecord read_run(const std::string& folder, std::size_t max_lines = 2000);

}  // namespace vitral::infer
