#include "models/dinov2/image_tower.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/hugging_face.h"

namespace vitral::models {
namespace {

constexpr std::string_view tower_name = "DINOv2 image";

constexpr Renaming names[] = {{"embeddings.cls_token", "class_embedding"},
                              {"embeddings.position_embeddings", "positional_embedding"},
                              {"embeddings.register_tokens", "registers"},
                              {"embeddings.patch_embeddings.projection.", "conv1."},
                              {"encoder.layer.", "transformer.resblocks."},
                              {"attention.attention.query.", "attn.q."},
                              {"attention.attention.key.", "attn.k."},
                              {"attention.attention.value.", "attn.v."},
                              {"attention.output.dense.", "attn.out_proj."},
                              {"norm1.", "ln_1."},
                              {"norm2.", "ln_2."},
                              {"mlp.fc1.", "mlp.c_fc."},
                              {"mlp.fc2.", "mlp.c_proj."}};

data::NamedTensors under_our_names(const data::NamedTensors& tensors, const std::string& where) {
  data::NamedTensors own;
  constexpr std::string_view prefix = "dinov2.";  // of Dinov2ForImageClassification
  for (const auto& [full, tensor] : tensors) {
    const std::string name = full.starts_with(prefix) ? full.substr(prefix.size()) : full;
    VITRAL_CHECK(name.find(".mlp.weights_in.") == name.npos && name.find(".mlp.gate_proj.") == name.npos,
                 "{}: DINOv2 with a SwiGLU MLP (giant) is not supported; small, base and large are", where);
    if (name == "embeddings.mask_token" || name.starts_with("classifier.")) continue;
    if (name.starts_with("layernorm."))
      own.emplace_back("ln_post." + name.substr(std::string_view("layernorm.").size()), tensor);
    else
      own.emplace_back(name, tensor);
  }
  return renamed(own, names, where);
}

// y = lambda (W x + b) = (lambda W) x + lambda b: LayerScale becomes part of the layer before it.
void fold_layer_scale(data::NamedTensors& state, const std::string& where) {
  const auto find = [&](const std::string& name) {
    return std::find_if(state.begin(), state.end(), [&](const auto& entry) { return entry.first == name; });
  };
  for (int i = 0;; ++i) {
    const std::string block = fmt::format("transformer.resblocks.{}.", i);
    if (find(block + "ln_1.weight") == state.end()) return;
    for (const auto& [factor, layer] : {std::pair{"layer_scale1.lambda1", "attn.out_proj."},
                                        std::pair{"layer_scale2.lambda1", "mlp.c_proj."}}) {
      const auto lambda = find(block + factor);
      if (lambda == state.end()) continue;  // weights without LayerScale
      const Tensor scale = lambda->second.cast(DType::float32);
      state.erase(lambda);
      for (const char* part : {"weight", "bias"}) {
        const auto at = find(block + layer + part);
        if (at == state.end()) continue;  // share_state() names what is missing
        VITRAL_CHECK(scale.rank() == 1 && at->second.rank() >= 1 && at->second.dim(0) == scale.dim(0),
                     "{}: '{}{}' {} does not fit '{}{}' {}", where, block, factor, scale.shape(), block,
                     std::string(layer) + part, at->second.shape());
        const Tensor value = at->second.cast(DType::float32);
        const Shape rows = value.rank() == 2 ? Shape{scale.dim(0), 1} : scale.shape();
        at->second = mul(Variable(value), Variable(scale.reshape(rows))).value();
      }
    }
  }
}

// The weights [to,from] of PyTorch's bicubic resize along one axis, align_corners false. Without antialias
// a = -0.75 and what lies outside repeats the border; with it a = -0.5, the kernel is as wide as the step,
// and what lies outside does not count.
Tensor bicubic_weights(std::int64_t from, std::int64_t to, bool antialias) {
  const double step = static_cast<double>(from) / static_cast<double>(to),
               width = antialias ? std::max(1.0, step) : 1, a = antialias ? -0.5 : -0.75;
  const auto kernel = [&](double x) {
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
  };
  Tensor out = Tensor::zeros({to, from});
  for (std::int64_t i = 0; i < to; ++i) {
    const double middle = (static_cast<double>(i) + 0.5) * step - 0.5;
    const auto reach = static_cast<std::int64_t>(std::ceil(2 * width));
    const auto base = static_cast<std::int64_t>(std::floor(middle));
    std::vector<double> row(static_cast<std::size_t>(from), 0);
    double total = 0;
    for (std::int64_t k = base - reach; k <= base + reach; ++k) {
      if (antialias && (k < 0 || k >= from)) continue;
      const double weight = kernel((static_cast<double>(k) - middle) / width);
      row[static_cast<std::size_t>(std::clamp<std::int64_t>(k, 0, from - 1))] += weight;
      total += weight;
    }
    for (std::int64_t k = 0; k < from; ++k)
      out.data<float>()[i * from + k] = static_cast<float>(row[static_cast<std::size_t>(k)] / total);
  }
  return out;
}

// positions [1+G G,W] -> [1+g g,W]; the first is the class token's.
Tensor resized_positions(const Tensor& positions, std::int64_t from, std::int64_t to, bool antialias) {
  const std::int64_t w = positions.dim(1);
  const Variable m(bicubic_weights(from, to, antialias)), all(positions.cast(DType::float32));
  const Variable grid = slice(all, 0, 1, 1 + from * from);
  const Variable rows = matmul(m, reshape(grid, {from, from * w}));                         // [g,G W]
  const Variable columns = permute(reshape(rows, {to, from, w}), {1, 0, 2});                // [G,g,W]
  const Variable both = reshape(matmul(m, reshape(columns, {from, to * w})), {to, to, w});  // columns first
  return concat({slice(all, 0, 0, 1), reshape(permute(both, {1, 0, 2}), {to * to, w})}, 0).value();
}

}  // namespace

ImageTowerConfig dinov2_config() {
  return {.image_size = 224,
          .patch_size = 14,
          .block = {.width = 768, .heads = 12, .mlp = "gelu", .eps = 1e-6},
          .layers = 12,
          .embedding = 768};
}

Dinov2Tower::Dinov2Tower(const ImageTowerConfig& config, std::uint64_t seed)
    : Dinov2Tower(config, Random(seed, 0x5BU)) {}

Dinov2Tower::Dinov2Tower(const ImageTowerConfig& c, Random random)
    : ImageTower(c, tower_name),
      conv1_(child<nn::PatchEmbedding>("conv1", 3, c.block.width, c.patch_size, random, true)),
      class_embedding_(parameter("class_embedding", nn::normal({c.block.width}, 0.02, random))),
      positional_embedding_(
          parameter("positional_embedding", nn::normal({1 + c.tokens(), c.block.width}, 0.02, random))),
      registers_(c.registers == 0
                     ? nullptr
                     : &parameter("registers", nn::normal({c.registers, c.block.width}, 0.02, random))),
      transformer_(child<nn::Transformer>("transformer", c.layers, c.block, random)),
      ln_post_(child<nn::LayerNorm>("ln_post", c.block.width, c.block.eps)) {}

ImageTower::Output Dinov2Tower::forward(const Variable& images, bool attention) const {
  check_images(images, tower_name);
  const std::int64_t b = images.dim(0), w = config().block.width, before = 1 + config().registers;
  const auto for_each_image = [&](const nn::Parameter& tokens, std::int64_t count) {
    return add(Variable(Tensor::zeros({b, count, w}, images.dtype(), images.device())),
               in_dtype(tokens, images.dtype()));
  };
  Variable x = add(concat({for_each_image(class_embedding_, 1), conv1_(images)}, 1),
                   in_dtype(positional_embedding_, images.dtype()));
  if (registers_)
    x = concat({slice(x, 1, 0, 1), for_each_image(*registers_, before - 1), slice(x, 1, 1, x.dim(1))}, 1);
  Variable weights;
  x = transformer_(x, {}, attention ? &weights : nullptr);
  Output out;
  out.embedding = ln_post_(cast(reshape(slice(x, 1, 0, 1), {b, w}), class_embedding_.dtype()));
  if (attention)
    out.attention = reshape(slice(slice(weights, 1, 0, 1), 2, before, x.dim(1)), {b, x.dim(1) - before});
  return out;
}

std::unique_ptr<ImageTower> load_dinov2(const data::NamedTensors& tensors, const Metadata& config,
                                        const std::string& where, int size) {
  data::NamedTensors state = under_our_names(tensors, where);
  fold_layer_scale(state, where);
  const auto need = [&](std::string_view name, int rank) {
    return required_weights(state, name, rank, tower_name, where).shape();
  };
  const Shape conv = need("conv1.weight", 4), position = need("positional_embedding", 3);
  need("class_embedding", 3);
  const std::int64_t width = conv[0];
  const int grid = square_side(position[1] - 1, tower_name, where);
  VITRAL_CHECK(position[0] == 1 && position[2] == width,
               "{}: positional_embedding {} does not fit conv1.weight {}", where, position, conv);
  ImageTowerConfig c = dinov2_config();
  c.patch_size = static_cast<int>(conv[2]);
  c.image_size = size == 0 ? grid * c.patch_size : size;
  c.embedding = static_cast<int>(width);
  VITRAL_CHECK(c.image_size > 0 && c.image_size % c.patch_size == 0,
               "{}: images of {} pixels: DINOv2's patch of {} must divide the size", where, c.image_size,
               c.patch_size);
  for (auto& [name, tensor] : state) {
    if (name == "registers") c.registers = static_cast<int>(tensor.dim(tensor.rank() - 2));
    if (name == "class_embedding" || name == "positional_embedding" || name == "registers")
      tensor = name == "class_embedding" ? tensor.reshape({tensor.numel()})
                                         : tensor.reshape({tensor.numel() / width, width});
  }
  for (auto& [name, tensor] : state)
    if (name == "positional_embedding" && c.grid() != grid)
      tensor = resized_positions(tensor, grid, c.grid(), c.registers > 0);
  c.layers = count_layers(state, tower_name, where);
  c.block = block_config(state, HuggingFaceConfig(config, "vision_config", where), width, c.block, tower_name,
                         where);
  return tower_of<Dinov2Tower>(c, state, where);
}

}  // namespace vitral::models
