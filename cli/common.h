// Options and output that several subcommands share.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/files/atomic.h"
#include "cli/command.h"
#include "data/dataset.h"
#include "models/student/encoder.h"

namespace vitral::cli {

/// A flag for each field of a student that may be set over what its weights say: --attention, --window,
/// and so on.
class StudentFlags {
 public:
  void add_to(Command& command);
  /// Those that were given.
  models::StudentOverrides values() const;
  /// "--attention, --window, ... and --head"
  static std::string names();

 private:
  std::map<std::string, std::string> texts_;
};

/// --precision fp32|tf32|bf16, of every command that embeds images.
struct PrecisionArgument {
  std::string text = "fp32";

  Option add_to(Command& command);
  /// What networks compute in from here on, on the device that --device names. UsageError where it does not.
  DType use(const std::string& device) const;
};

/// Options of every command that loads a student: --device, --precision, the flags of the student,
/// --temperature.
struct EncoderArguments {
  std::string weights;
  std::string device = "auto";
  PrecisionArgument precision;
  StudentFlags student;
  double temperature = 1;

  void add_to(Command& command);
  models::Encoder load() const;
};

/// --exif apply|ignore, of every command that reads images.
struct ExifArgument {
  std::string text = "apply";

  Option add_to(Command& command);
  data::Exif value() const { return data::exif_of(text); }
};

/// --images NAME and --embeddings NAME, of every command that reads dataset files: what the datasets in them
/// are called.
struct DatasetArguments {
  data::DatasetNames names;

  void add_to(Command& command);
  void add_images_to(Command& command);  // of commands that read no embeddings
};

/// Before any work: UsageError where the output's folder is not there, or the output is one of the inputs.
void check_output(const std::string& output, const std::vector<std::string>& inputs);

/// Before any work, of a folder that a command writes whole or not at all with these files: UsageError where
/// it is there and not empty without `force`, holds anything else, or is no folder.
void check_output_folder(const std::string& folder, std::span<const char* const> files, bool force);
/// That folder, with those above it.
AtomicDirectory output_folder(const std::string& folder);

/// A counter "what 12/40" that redraws itself on a terminal and is silent elsewhere.
std::function<void(std::int64_t done, std::int64_t total)> terminal_counter(const std::string& what);

}  // namespace vitral::cli
