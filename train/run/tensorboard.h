// Scalars as a TensorBoard event file: runs/NAME/events.out.tfevents.TIME.HOST.
//
// The file is a row of TFRecords, all numbers little-endian:
//   uint64 length, uint32 masked_crc(length), the event, uint32 masked_crc(event)
//   masked_crc(x) = rotate_right(crc32c(x), 15) + 0xa282ead8
// and an event is a protobuf message (tensorflow/core/util/event.proto):
//   1 double wall_time, 2 int64 step, and one of 3 string file_version, 5 Summary, 7 SessionLog
//   Summary: 1 repeated Value {1 string tag, 2 float simple_value};  SessionLog: 1 status (1 = START)
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/files/append_file.h"
#include "train/run/metrics.h"

namespace vitral::train {

/// CRC-32C (Castagnoli; RFC 3720 appendix B.4 has test vectors).
std::uint32_t crc32c(std::string_view bytes);

/// Tags train/loss (and train/loss.TERM), train/grad_norm, train/lr, train/images_per_second,
/// train/data_wait, val/MEASURE.
class TensorBoardWriter {
 public:
  /// Always a new file in `folder`. With resume_step >= 0 a session start of step resume_step + 1 follows the
  /// version, at which TensorBoard forgets what earlier files say about that step and later ones.
  explicit TensorBoardWriter(const std::string& folder, std::int64_t resume_step = -1);

  /// Handed to the operating system at once. Throws Error naming the file (full disk).
  void train(const TrainRecord& record);
  void val(const ValRecord& record);

  const std::string& path() const { return file_.path(); }

 private:
  void write(std::int64_t step, std::string_view what);

  AppendFile file_;
};

}  // namespace vitral::train
