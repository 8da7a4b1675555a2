// What the commands share that write a benchmark: train.h5 and val.h5 of so many samples and a seed.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "cli/command.h"
#include "data/benchmarks/samples.h"

namespace vitral::cli {

struct MadeFiles {
  std::string folder;
  std::int64_t train, val;
  std::int64_t seed = 0;
  bool json = false;

  /// -o, --train, --val, --seed and --json, with the numbers that they have now for defaults.
  void add_to(Command& command);
  /// Writes both and prints a line about each, or one JSON object. UsageError: the folder cannot be created.
  void write(int image_size, std::int64_t concepts,
             const std::function<data::BenchmarkFile(const std::string& path, std::int64_t count,
                                                     data::Split split)>& write_file) const;
};

}  // namespace vitral::cli
