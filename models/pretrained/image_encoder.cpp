#include "models/pretrained/image_encoder.h"

#include <algorithm>
#include <charconv>

#include "models/clip/weights.h"
#include "models/pretrained/families.h"

namespace vitral::models {
namespace {

ChannelStatistics statistics_of(const Metadata& metadata, ChannelStatistics out) {
  for (std::size_t i = 0; i < 3; ++i)
    for (const auto& [name, to] : {std::pair{"image_mean", &out.mean}, {"image_std", &out.std}})
      if (const auto found = metadata.find(fmt::format("{}.{}", name, i)); found != metadata.end())
        std::from_chars(found->second.data(), found->second.data() + found->second.size(), (*to)[i]);
  return out;
}

// Of float32 [B,...] rows, in pieces of at most `batch`.
template <typename Compute>
void in_pieces(std::int64_t count, std::int64_t batch, Tensor& out, const Compute& compute) {
  const NoGrad no_grad;
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t end = std::min(count, begin + batch);
    out.rows(begin, end).copy_from(compute(begin, end).value());
  }
}

}  // namespace

ImageEncoder ImageEncoder::load(const std::string& path, Device device, const TowerChoices& choices) {
  const data::WeightsFile weights = read_clip_weights(path, data::TensorMemory::mapped);
  const Metadata config = with_choices(weights.metadata, "vision_config", choices);
  const Family& family = family_of(weights.tensors, config, path);
  ImageEncoder out;
  out.tower_ = family.image(weights.tensors, config, path, 0);
  out.tower_->to(device);
  out.tower_->pack_weights();
  out.family_ = family.name;
  out.statistics_ = statistics_of(config, family.statistics);
  out.guessed_ = guessed_of(weights.tensors, config, "vision_config", family.usual, out.config().block);
  out.device_ = device;
  return out;
}

Tensor ImageEncoder::embed(const Tensor& images, std::int64_t batch) const {
  // A copy from a GPU to other memory goes through pinned memory anyway, and one back to it from there.
  const Shape shape{images.dim(0), config().embedding};
  Tensor out = device_.is_cpu() ? Tensor(shape) : Tensor::pinned(shape);
  in_pieces(images.dim(0), batch, out, [&](std::int64_t begin, std::int64_t end) {
    return tower_->forward(normalize_pixels(images.rows(begin, end), device_, statistics_)).embedding;
  });
  return out;
}

Tensor ImageEncoder::attention(const Tensor& images, std::int64_t batch) const {
  Tensor out({images.dim(0), config().tokens()});
  in_pieces(images.dim(0), batch, out, [&](std::int64_t begin, std::int64_t end) {
    return tower_->forward(normalize_pixels(images.rows(begin, end), device_, statistics_), true).attention;
  });
  return out;
}

}  // namespace vitral::models
