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

}  // namespace

ClipImageEncoder ClipImageEncoder::load(const std::string& path, Device device, int heads) {
  const data::WeightsFile weights = read_clip_weights(path, data::TensorMemory::mapped);
  auto tower = load_clip_image(weights.tensors, weights.metadata, path, heads);
  tower->to(device);
  tower->pack_weights();
  return {std::move(tower), statistics_of(weights.metadata), device};
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
