// What the tests of checkpoints share.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include <unistd.h>

#include "tests/support.h"
#include "train/run/checkpoint.h"

namespace vitral::test {

/// Thousands of syncs take long on a disk and no time in memory, where a Linux system has such a folder.
inline const bool temporary_folders_in_memory =
    ::access("/dev/shm", W_OK) == 0 && ::setenv("TMPDIR", "/dev/shm", 0) == 0;

/// A small checkpoint whose every value follows from the step.
inline train::Checkpoint checkpoint_at(std::int64_t step, double scale = 1) {
  const auto value = static_cast<double>(step) * scale;
  return {step,
          {{"conv1.weight", Tensor::full({3, 4}, value)}, {"scale", Tensor::full({1}, value + 1)}},
          {{"config", "model: {width: 8}\n"}},
          {{"exp_avg.scale", Tensor::full({1}, value + 2)}},
          {{"epoch", step / 10}, {"best_loss", 0.1 + value}, {"order", {1, 2, 3}}}};
}

/// "" when the two hold the same, else the first difference.
inline std::string difference(const train::Checkpoint& a, const train::Checkpoint& b) {
  if (a.step != b.step) return "step";
  if (a.model_metadata != b.model_metadata) return "metadata";
  if (a.state != b.state) return "state";
  const auto compare = [](const data::NamedTensors& x, const data::NamedTensors& y) -> std::string {
    if (x.size() != y.size()) return "number of tensors";
    for (std::size_t i = 0; i < x.size(); ++i)
      if (x[i].first != y[i].first || x[i].second.shape() != y[i].second.shape() ||
          x[i].second.to_vector() != y[i].second.to_vector())
        return x[i].first;
    return "";
  };
  const std::string model = compare(a.model, b.model);
  return model.empty() ? compare(a.optimizer, b.optimizer) : model;
}

inline train::Checkpoint load(const std::string& path) {
  std::vector<std::string> warnings;
  return train::load_checkpoint(path, warnings);
}

/// Names in RUN/checkpoints, sorted.
inline std::vector<std::string> names_in(const std::string& run) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(run + "/checkpoints"))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace vitral::test
