#include "models/siglip/image_tower.h"

#include <cmath>

#include "models/hugging_face.h"

namespace vitral::models {
namespace {

constexpr std::string_view tower_name = "SigLIP image";

// SigLIP 2 stores the patch embedding as a matrix on patches [p,p,3].
Tensor as_kernel(const Tensor& matrix, const std::string& where) {
  const int p = square_side(matrix.dim(1) / 3, tower_name, where);
  VITRAL_CHECK(matrix.dim(1) % 3 == 0, "{}: patches of {} numbers have no three channels", where,
               matrix.dim(1));
  return permute(Variable(matrix.cast(DType::float32).reshape({matrix.dim(0), p, p, 3})), {0, 3, 1, 2})
      .value();
}

}  // namespace

ImageTowerConfig siglip_image_config() {
  return {.image_size = 224,
          .patch_size = 16,
          .block = {.width = 768, .heads = 12, .mlp = "gelu_pytorch_tanh", .eps = 1e-6},
          .layers = 12,
          .embedding = 768};
}

SiglipPooling::SiglipPooling(const nn::BlockConfig& c, Random& random)
    : heads_(c.heads),
      probe_(parameter("probe", nn::normal({1, 1, c.width}, 1, random))),
      in_proj_weight_(
          parameter("attention.in_proj_weight", nn::xavier_uniform({3 * c.width, c.width}, random))),
      in_proj_bias_(parameter("attention.in_proj_bias", Tensor::zeros({3 * c.width}))),
      out_proj_(child<nn::Linear>("attention.out_proj", c.width, c.width, random, Tensor::zeros({c.width}))),
      ln_(child<nn::LayerNorm>("layernorm", c.width, c.eps)),
      mlp_(child("mlp", nn::make_mlp({c.width, c.hidden(), c.mlp}, random))) {}

Variable SiglipPooling::operator()(const Variable& x, Variable* mean) const {
  const std::int64_t b = x.dim(0), n = x.dim(1), w = x.dim(2), d = w / heads_;
  const auto project = [&](const Variable& of, std::int64_t begin, std::int64_t end) {
    return linear(of, rows_of(in_proj_weight_, begin * w, end * w),
                  rows_of(in_proj_bias_, begin * w, end * w));
  };
  const Variable q = reshape(project(in_dtype(probe_, x.dtype()), 0, 1), {1, heads_, 1, d});
  const Variable kv = permute(reshape(project(x, 1, 3), {b, n, 2, heads_, d}), {2, 0, 3, 1, 4});
  const Variable k = reshape(slice(kv, 0, 0, 1), {b, heads_, n, d}),
                 v = reshape(slice(kv, 0, 1, 2), {b, heads_, n, d});
  // All images share the query, so their scores are sums of products with it.
  const Variable scores = reshape(sum(mul(k, q), 3), {b, heads_, 1, n});
  const Variable weights = softmax(affine(scores, 1 / std::sqrt(static_cast<double>(d))));
  if (mean) *mean = affine(sum(reshape(weights, {b, heads_, n}), 1), 1 / static_cast<double>(heads_));
  const Variable y = out_proj_(reshape(matmul(weights, v), {b, w}));
  return add(y, mlp_(ln_(y)));
}

SiglipImageTower::SiglipImageTower(const ImageTowerConfig& config, std::uint64_t seed)
    : SiglipImageTower(config, Random(seed, 0x59U)) {}

SiglipImageTower::SiglipImageTower(const ImageTowerConfig& c, Random random)
    : ImageTower(c, tower_name),
      conv1_(child<nn::PatchEmbedding>("conv1", 3, c.block.width, c.patch_size, random, true)),
      positional_embedding_(
          parameter("positional_embedding",
                    nn::normal({c.tokens(), c.block.width}, 1 / std::sqrt(double(c.block.width)), random))),
      transformer_(child<nn::Transformer>("transformer", c.layers, c.block, random)),
      ln_post_(child<nn::LayerNorm>("ln_post", c.block.width, c.block.eps)),
      head_(child<SiglipPooling>("head", c.block, random)) {}

ImageTower::Output SiglipImageTower::forward(const Variable& images, bool attention) const {
  check_images(images, tower_name);
  Output out;
  const Variable tokens = add(conv1_(images), in_dtype(positional_embedding_, images.dtype()));
  out.embedding = head_(ln_post_(transformer_(tokens)), attention ? &out.attention : nullptr);
  return out;
}

std::unique_ptr<ImageTower> load_siglip_image(const data::NamedTensors& tensors, const Metadata& config,
                                              const std::string& where) {
  data::NamedTensors state = clip_like_part(tensors, "vision_model.", where);
  for (auto& [name, tensor] : state)
    if (name == "conv1.weight" && tensor.rank() == 2) tensor = as_kernel(tensor, where);
  const auto need = [&](std::string_view name, int rank) {
    return required_weights(state, name, rank, tower_name, where).shape();
  };
  const Shape conv = need("conv1.weight", 4), position = need("positional_embedding", 2);
  need("head.probe", 3);
  ImageTowerConfig c = siglip_image_config();
  c.patch_size = static_cast<int>(conv[2]);
  c.image_size = square_side(position[0], tower_name, where) * c.patch_size;
  c.embedding = static_cast<int>(conv[0]);
  c.layers = count_layers(state, tower_name, where);
  c.block = block_config(state, HuggingFaceConfig(config, "vision_config", where), conv[0], c.block,
                         tower_name, where);
  return tower_of<SiglipImageTower>(c, state, where);
}

}  // namespace vitral::models
