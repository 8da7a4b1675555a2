#include "models/clip/weights.h"

#include "models/pretrained/checkpoint.h"

namespace vitral::models {

data::WeightsFile read_clip_weights(const std::string& path, data::TensorMemory memory,
                                    const std::string& activation) {
  Checkpoint checkpoint = read_checkpoint(path, memory);
  data::WeightsFile weights{std::move(checkpoint.tensors), std::move(checkpoint.config)};
  const auto& [mean, std] = checkpoint.preprocessing.statistics;
  for (std::size_t i = 0; i < 3 && checkpoint.preprocessing.statistics_given; ++i) {
    weights.metadata[fmt::format("image_mean.{}", i)] = fmt::format("{}", mean[i]);
    weights.metadata[fmt::format("image_std.{}", i)] = fmt::format("{}", std[i]);
  }
  if (!activation.empty())
    for (const char* group : {"vision_config", "text_config"})
      weights.metadata[fmt::format("{}.hidden_act", group)] = activation;
  return weights;
}

}  // namespace vitral::models
