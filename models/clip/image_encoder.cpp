#include "models/clip/image_encoder.h"

#include <algorithm>
#include <charconv>

#include "models/clip/state.h"
#include "models/clip/weights.h"

namespace vitral::models {
namespace {

ChannelStatistics statistics_of(const Metadata& metadata) {
  ChannelStatistics out = clip_statistics;
  for (std::size_t i = 0; i < 3; ++i)
    for (const auto& [name, to] : {std::pair{"image_mean", &out.mean}, {"image_std", &out.std}})
      if (const auto found = metadata.find(fmt::format("{}.{}", name, i)); found != metadata.end())
        std::from_chars(found->second.data(), found->second.data() + found->second.size(), (*to)[i]);
  return out;
}

// Files of OpenAI's carry numbers that others leave out, and all have the same heads and activation.
std::string guess(const data::WeightsFile& weights, const ClipImageConfig& config, bool heads_given) {
  const bool openai = std::any_of(weights.tensors.begin(), weights.tensors.end(),
                                  [](const auto& entry) { return entry.first == "input_resolution"; });
  if (openai) return "";
  const auto& metadata = weights.metadata;
  std::string out;
  if (!heads_given && !metadata.contains("vision_config.num_attention_heads"))
    out = fmt::format("{} heads (width / 64)", config.heads);
  if (!metadata.contains("vision_config.hidden_act")) out += out.empty() ? "quick_gelu" : " and quick_gelu";
  return out;
}

}  // namespace

ClipImageEncoder ClipImageEncoder::load(const std::string& path, Device device, int heads,
                                        const std::string& activation) {
  const data::WeightsFile weights = read_clip_weights(path, data::TensorMemory::mapped, activation);
  auto tower = load_clip_image(weights.tensors, weights.metadata, path, heads);
  tower->to(device);
  tower->pack_weights();
  std::string guessed = guess(weights, tower->config(), heads > 0);
  return {std::move(tower), statistics_of(weights.metadata), std::move(guessed), device};
}

Tensor ClipImageEncoder::embed(const Tensor& images, std::int64_t batch) const {
  const NoGrad no_grad;
  const std::int64_t count = images.dim(0);
  // A copy from a GPU to other memory goes through pinned memory anyway, and one back to it from there.
  const Shape shape{count, config().embedding};
  Tensor out = device_.is_cpu() ? Tensor(shape) : Tensor::pinned(shape);
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t end = std::min(count, begin + batch);
    const auto y = tower_->forward(normalize_pixels(images.rows(begin, end), device_, statistics_));
    out.rows(begin, end).copy_from(y.embedding.value());
  }
  return out;
}

Tensor ClipImageEncoder::class_attention(const Tensor& images, std::int64_t batch) const {
  const NoGrad no_grad;
  const std::int64_t count = images.dim(0), n = config().tokens();
  Tensor out({count, n});
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t end = std::min(count, begin + batch);
    const auto y = tower_->forward(normalize_pixels(images.rows(begin, end), device_, statistics_), true);
    const Variable of_class = slice(slice(y.attention, 1, 0, 1), 2, 1, 1 + n);
    out.rows(begin, end).copy_from(of_class.value().reshape({end - begin, n}));
  }
  return out;
}

}  // namespace vitral::models
