#include "models/clip/image_tower.h"

#include <algorithm>
#include <cmath>

#include "autograd/composed.h"
#include "models/clip/names.h"
#include "models/constant.h"
#include "models/hugging_face.h"

namespace vitral::models {
namespace {
constexpr std::string_view tower_name = "CLIP image";
constexpr int max_side = 1 << 14;

// NACLIP's w [N,N], a Gaussian of the distance between two places on the grid.
Tensor window(int grid) {
  constexpr double std = 5;
  const std::int64_t n = std::int64_t{grid} * grid;
  Tensor w({n, n});
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      const auto down = static_cast<double>(i / grid - j / grid),
                 right = static_cast<double>(i % grid - j % grid);
      w.data<float>()[i * n + j] =
          static_cast<float>(std::exp(-(down * down + right * right) / (2 * std * std)));
    }
  return w;
}

// [B,1+N,W] -> [B,W]
Variable class_token(const Variable& x) { return reshape(slice(x, 1, 0, 1), {x.dim(0), x.dim(2)}); }

}  // namespace

ImageTowerConfig clip_image_config() {
  return {.image_size = 224,
          .patch_size = 32,
          .block = {.width = 768, .heads = 12, .mlp = "quick_gelu"},
          .layers = 12,
          .embedding = 512};
}

ClipImageTower::ClipImageTower(const ImageTowerConfig& config, std::uint64_t seed)
    : ClipImageTower(config, Random(seed, 0x57U)) {}

// Scales as in openai/CLIP, class VisionTransformer.
ClipImageTower::ClipImageTower(const ImageTowerConfig& c, Random random)
    : ImageTower(c, tower_name),
      conv1_(child<nn::PatchEmbedding>("conv1", 3, c.block.width, c.patch_size, random)),
      class_embedding_(parameter("class_embedding",
                                 nn::normal({c.block.width}, 1 / std::sqrt(double(c.block.width)), random))),
      positional_embedding_(parameter(
          "positional_embedding",
          nn::normal({1 + c.tokens(), c.block.width}, 1 / std::sqrt(double(c.block.width)), random))),
      ln_pre_(child<nn::LayerNorm>("ln_pre", c.block.width, c.block.eps)),
      transformer_(child<nn::Transformer>("transformer", c.layers, c.block, random)),
      ln_post_(child<nn::LayerNorm>("ln_post", c.block.width, c.block.eps)),
      proj_(parameter(
          "proj", nn::normal({c.block.width, c.embedding}, 1 / std::sqrt(double(c.block.width)), random))) {}

Variable ClipImageTower::patches_of(const Variable& images) const {
  check_images(images, tower_name);
  return patchify(images, config().patch_size);
}

Variable ClipImageTower::tokens_of(const Variable& patches) const {
  const Variable x = conv1_.of_patches(patches);
  const Variable zeros(Tensor::zeros({x.dim(0), 1, x.dim(2)}, x.dtype(), x.device()));
  const Variable tokens = concat({add(zeros, in_dtype(class_embedding_, x.dtype())), x}, 1);
  return ln_pre_.add(tokens, positional_embedding_).norm;
}

Variable ClipImageTower::project(const Variable& x) const {
  return matmul(ln_post_(cast(x, proj_.dtype())), proj_);
}

Variable ClipImageTower::embed(const Variable& patches) const {
  return project(transformer_.of_picked(tokens_of(patches), class_token));
}

ImageTower::Output ClipImageTower::forward(const Variable& images, bool attention) const {
  const std::int64_t b = images.dim(0), n = config().tokens();
  Variable weights;
  Output out;
  out.embedding =
      project(class_token(transformer_(tokens_of(patches_of(images)), {}, attention ? &weights : nullptr)));
  if (attention) out.attention = reshape(slice(slice(weights, 1, 0, 1), 2, 1, 1 + n), {b, n});
  return out;
}

Variable ClipImageTower::dense(const Variable& images, DenseTokens way) const {
  const auto without_class = [&](const Variable& tokens) {
    return slice(tokens, 1, 1, 1 + config().tokens());
  };
  const Variable x = tokens_of(patches_of(images));
  if (way == DenseTokens::vanilla) return project(without_class(transformer_(x)));
  const nn::ResidualBlock& last = transformer_.last();
  const std::int64_t w = config().block.width;
  const Variable qkv = linear(last.ln_1(without_class(transformer_.before_last(x))), last.attn.in_proj_weight,
                              last.attn.in_proj_bias);
  const Variable k = slice(qkv, 2, w, 2 * w), v = slice(qkv, 2, 2 * w, 3 * w);
  if (way == DenseTokens::value) return project(last.attn.out_proj(v));
  return project(
      last.attn.out_proj(composed::attention(concat({k, k, v}, 2), config().block.heads,
                                             constant(window_, k, [&] { return window(config().grid()); }))));
}

std::unique_ptr<ImageTower> load_clip_image(const data::NamedTensors& tensors, const Metadata& config,
                                            const std::string& where) {
  const data::NamedTensors state = clip_image_part(tensors, where);
  const auto need = [&](std::string_view name, int rank) {
    return required_weights(state, name, rank, tower_name, where).shape();
  };
  const Shape conv = need("conv1.weight", 4), position = need("positional_embedding", 2);
  VITRAL_CHECK(std::any_of(state.begin(), state.end(), [](const auto& e) { return e.first == "proj"; }),
               "{}: holds CLIP's image tower without the projection into the space of texts (as "
               "CLIPVisionModel does); save CLIPModel or CLIPVisionModelWithProjection",
               where);
  const Shape proj = need("proj", 2);
  const int grid = square_side(position[0] - 1, tower_name, where);
  VITRAL_CHECK(conv[1] == 3 && conv[2] == conv[3] && position[1] == conv[0] && proj[0] == conv[0],
               "{}: conv1.weight {}, positional_embedding {} and proj {} do not fit each other", where, conv,
               position, proj);
  VITRAL_CHECK(conv[0] < 1 << 20 && conv[2] <= max_side && grid * conv[2] <= max_side && proj[1] < 1 << 20,
               "{}: a CLIP image tower for images of {} pixels is too large", where, grid * conv[2]);
  ImageTowerConfig c = clip_image_config();
  c.patch_size = static_cast<int>(conv[2]);
  c.image_size = grid * c.patch_size;
  c.embedding = static_cast<int>(proj[1]);
  c.layers = count_layers(state, tower_name, where);
  c.block = block_config(state, HuggingFaceConfig(config, "vision_config", where), conv[0], c.block,
                         tower_name, where);
  return tower_of<ClipImageTower>(c, state, where);
}

}  // namespace vitral::models
