#include "models/siglip/image_tower.h"

#include <cmath>

#include "models/hugging_face.h"
#include "models/siglip/names.h"

namespace vitral::models {
namespace {

constexpr std::string_view tower_name = "SigLIP image";

void check(const SiglipImageConfig& c) {
  VITRAL_CHECK(c.image_size > 0 && c.patch_size > 0 && c.image_size % c.patch_size == 0,
               "SigLIP image tower: patch_size {} must divide image_size {}", c.patch_size, c.image_size);
  VITRAL_CHECK(c.layers > 0 && c.block.width > 0 && c.block.heads > 0 && c.block.width % c.block.heads == 0,
               "SigLIP image tower: heads {} must divide width {}, and there must be layers", c.block.heads,
               c.block.width);
}

// SigLIP 2 stores the patch embedding as a matrix on patches [p,p,3].
Tensor as_kernel(const Tensor& matrix, const std::string& where) {
  const int p = square_side(matrix.dim(1) / 3, tower_name, where);
  VITRAL_CHECK(matrix.dim(1) % 3 == 0, "{}: patches of {} numbers have no three channels", where,
               matrix.dim(1));
  return permute(Variable(matrix.cast(DType::float32).reshape({matrix.dim(0), p, p, 3})), {0, 3, 1, 2})
      .value();
}

}  // namespace

SiglipPooling::SiglipPooling(const nn::BlockConfig& c, Random& random)
    : heads_(c.heads),
      probe_(parameter("probe", nn::normal({1, 1, c.width}, 1, random))),
      in_proj_weight_(
          parameter("attention.in_proj_weight", nn::xavier_uniform({3 * c.width, c.width}, random))),
      in_proj_bias_(parameter("attention.in_proj_bias", Tensor::zeros({3 * c.width}))),
      out_proj_(child<nn::Linear>("attention.out_proj", c.width, c.width, random, Tensor::zeros({c.width}))),
      ln_(child<nn::LayerNorm>("layernorm", c.width, c.eps)),
      mlp_(child("mlp", nn::make_mlp({c.width, c.hidden(), c.activation}, random))) {}

Variable SiglipPooling::operator()(const Variable& x) const {
  const std::int64_t b = x.dim(0), n = x.dim(1), w = x.dim(2), d = w / heads_;
  const auto project = [&](const Variable& of, std::int64_t begin, std::int64_t end) {
    return linear(of, slice(in_proj_weight_, 0, begin * w, end * w),
                  slice(in_proj_bias_, 0, begin * w, end * w));
  };
  const Variable q = reshape(project(probe_, 0, 1), {1, heads_, 1, d});
  const Variable kv = permute(reshape(project(x, 1, 3), {b, n, 2, heads_, d}), {2, 0, 3, 1, 4});
  const Variable k = reshape(slice(kv, 0, 0, 1), {b, heads_, n, d}),
                 v = reshape(slice(kv, 0, 1, 2), {b, heads_, n, d});
  // All images share the query, so their scores are sums of products with it.
  const Variable scores = reshape(sum(mul(k, q), 3), {b, heads_, 1, n});
  const Variable weights = softmax(affine(scores, 1 / std::sqrt(static_cast<double>(d))));
  const Variable y = out_proj_(reshape(matmul(weights, v), {b, w}));
  return add(y, mlp_(ln_(y)));
}

SiglipImageTower::SiglipImageTower(const SiglipImageConfig& config, std::uint64_t seed)
    : SiglipImageTower((check(config), config), Random(seed, 0x59U)) {}

SiglipImageTower::SiglipImageTower(const SiglipImageConfig& c, Random random)
    : config_(c),
      conv1_(child<nn::PatchEmbedding>("conv1", 3, c.block.width, c.patch_size, random, true)),
      positional_embedding_(
          parameter("positional_embedding", nn::normal({std::int64_t{1} * c.grid() * c.grid(), c.block.width},
                                                       1 / std::sqrt(double{1} * c.block.width), random))),
      transformer_(child<nn::Transformer>("transformer", c.layers, c.block, random)),
      ln_post_(child<nn::LayerNorm>("ln_post", c.block.width, c.block.eps)),
      head_(child<SiglipPooling>("head", c.block, random)) {}

Variable SiglipImageTower::forward(const Variable& images) const {
  VITRAL_CHECK(images.rank() == 4 && images.dim(1) == 3 && images.dim(2) == config_.image_size &&
                   images.dim(3) == config_.image_size,
               "SigLIP image tower: images {} must be [B, 3, {}, {}]", images.shape(), config_.image_size,
               config_.image_size);
  return head_(ln_post_(transformer_(add(conv1_(images), positional_embedding_))));
}

std::unique_ptr<SiglipImageTower> load_siglip_image(const data::NamedTensors& tensors,
                                                    const std::map<std::string, std::string>& config,
                                                    const std::string& where) {
  data::NamedTensors state = siglip_part(tensors, "vision_model.", where);
  for (auto& [name, tensor] : state)
    if (name == "conv1.weight" && tensor.rank() == 2) tensor = as_kernel(tensor, where);
  const auto need = [&](std::string_view name, int rank) {
    return required_weights(state, name, rank, tower_name, where).shape();
  };
  const Shape conv = need("conv1.weight", 4), position = need("positional_embedding", 2);
  need("head.probe", 3);
  const HuggingFaceConfig given(config, "vision_config", where);
  SiglipImageConfig c;
  c.patch_size = static_cast<int>(conv[2]);
  c.image_size = square_side(position[0], tower_name, where) * c.patch_size;
  c.layers = count_layers(state, tower_name, where);
  c.block = siglip_block(state, given, conv[0], tower_name, where);
  const nn::NoInit no_init;
  auto tower = std::make_unique<SiglipImageTower>(c);
  tower->share_state(state, where);
  return tower;
}

}  // namespace vitral::models
