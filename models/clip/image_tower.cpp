#include "models/clip/image_tower.h"

#include <cmath>

namespace vitral::models {
namespace {

void check(const ClipImageConfig& c) {
  VITRAL_CHECK(
      c.image_size > 0 && c.patch_size > 0 && c.width > 0 && c.layers > 0 && c.heads > 0 && c.embedding > 0,
      "CLIP image tower: image_size {}, patch_size {}, width {}, layers {}, heads {} and embedding {} "
      "must be positive",
      c.image_size, c.patch_size, c.width, c.layers, c.heads, c.embedding);
  VITRAL_CHECK(c.image_size % c.patch_size == 0, "CLIP image tower: patch_size {} must divide image_size {}",
               c.patch_size, c.image_size);
  VITRAL_CHECK(c.width % c.heads == 0, "CLIP image tower: heads {} must divide width {}", c.heads, c.width);
}

}  // namespace

ClipImageTower::ClipImageTower(const ClipImageConfig& config, std::uint64_t seed)
    : ClipImageTower((check(config), config), Random(seed, 0x57U)) {}

// Scales as in openai/CLIP, class VisionTransformer.
ClipImageTower::ClipImageTower(const ClipImageConfig& c, Random random)
    : config_(c),
      conv1_(child<nn::PatchEmbedding>("conv1", 3, c.width, c.patch_size, random)),
      class_embedding_(
          parameter("class_embedding", nn::normal({c.width}, 1 / std::sqrt(double{1} * c.width), random))),
      positional_embedding_(
          parameter("positional_embedding",
                    nn::normal({1 + c.tokens(), c.width}, 1 / std::sqrt(double{1} * c.width), random))),
      ln_pre_(child<nn::LayerNorm>("ln_pre", c.width)),
      transformer_(child<nn::Transformer>(
          "transformer", c.layers,
          nn::BlockConfig{.width = c.width, .heads = c.heads, .activation = c.activation}, random)),
      ln_post_(child<nn::LayerNorm>("ln_post", c.width)),
      proj_(parameter("proj",
                      nn::normal({c.width, c.embedding}, 1 / std::sqrt(double{1} * c.width), random))) {}

ClipImageTower::Output ClipImageTower::forward(const Variable& images, bool attention) const {
  VITRAL_CHECK(images.rank() == 4 && images.dim(1) == 3 && images.dim(2) == config_.image_size &&
                   images.dim(3) == config_.image_size,
               "CLIP image tower: images {} must be [B, 3, {}, {}]", images.shape(), config_.image_size,
               config_.image_size);
  const std::int64_t b = images.dim(0), w = config_.width;
  const Variable zeros(Tensor::zeros({b, 1, w}, images.dtype(), images.device()));
  const Variable tokens = concat({add(zeros, class_embedding_), conv1_(images)}, 1);
  Output out;
  const Variable x =
      transformer_(ln_pre_.add(tokens, positional_embedding_).norm, {}, attention ? &out.attention : nullptr);
  out.embedding = matmul(ln_post_(reshape(slice(x, 1, 0, 1), {b, w})), proj_);
  return out;
}

}  // namespace vitral::models
