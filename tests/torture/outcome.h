// What a command left behind, in a form that is equal for equal results.
#pragma once
#include <map>
#include <string>

namespace vitral::torture {

/// Of every file under a folder, by its name there: its contents or their checksum, without what depends on
/// the clock (times in metrics.jsonl; TensorBoard's files are left out). HDF5 files by what
/// they hold: datasets and attributes. A file that cannot be read says why.
using Outcome = std::map<std::string, std::string>;
Outcome outcome_of(const std::string& folder);
/// Of one file.
std::string contents_of(const std::string& path);

/// Of the training of the workshop (30 steps), what does not depend on where it was stopped: its last
/// checkpoint, and the records.
Outcome end_of_training(const std::string& run);

/// What differs, a line each, or "".
std::string difference(const Outcome& expected, const Outcome& there);

}  // namespace vitral::torture
