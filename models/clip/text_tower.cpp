#include "models/clip/text_tower.h"

#include <algorithm>
#include <cmath>

#include "models/clip/names.h"
#include "models/hugging_face.h"
#include "tensor/ops/embedding.h"

namespace vitral::models {
namespace {

constexpr std::string_view tower_name = "CLIP text";

nn::BlockConfig causal(nn::BlockConfig c) {
  c.mask.causal = true;
  return c;
}

// The columns of int64 [T,L] up to the last end of a text, which nobody sees beyond; all where they lie on a
// device that would have to be waited for.
Tensor up_to_the_ends(const Tensor& tokens) {
  if (!tokens.device().is_cpu()) return tokens;
  const std::int64_t rows = tokens.dim(0), all = tokens.dim(1);
  const auto* from = tokens.data<std::int64_t>();
  std::int64_t count = 1;
  for (std::int64_t i = 0; i < rows; ++i) count = std::max(count, end_of_text(from + i * all, all) + 1);
  if (count == all) return tokens;
  Tensor out({rows, count}, DType::int64);
  for (std::int64_t i = 0; i < rows; ++i)
    std::copy_n(from + i * all, count, out.data<std::int64_t>() + i * count);
  return out;
}

}  // namespace

TextTowerConfig clip_text_config() {
  return {.context = 77,
          .vocabulary = 49408,
          .block = {.width = 512, .heads = 8, .mlp = "quick_gelu"},
          .layers = 12,
          .embedding = 512};
}

ClipTextTower::ClipTextTower(const TextTowerConfig& config, std::uint64_t seed)
    : ClipTextTower(config, Random(seed, 0x58U)) {}

// Scales as in openai/CLIP, CLIP.initialize_parameters().
ClipTextTower::ClipTextTower(const TextTowerConfig& c, Random random)
    : TextTower(c, tower_name),
      positional_embedding_(
          parameter("positional_embedding", nn::normal({c.context, c.block.width}, 0.01, random))),
      text_projection_(
          parameter("text_projection",
                    nn::normal({c.block.width, c.embedding}, 1 / std::sqrt(double(c.block.width)), random))),
      token_embedding_(
          parameter("token_embedding.weight", nn::normal({c.vocabulary, c.block.width}, 0.02, random))),
      transformer_(child<nn::Transformer>("transformer", c.layers, causal(c.block), random)),
      ln_final_(child<nn::LayerNorm>("ln_final", c.block.width, c.block.eps)) {}

Variable ClipTextTower::forward(const Tensor& tokens) const {
  return embed(tokens, token_embedding_.dtype());
}

Variable ClipTextTower::embed(const Tensor& tokens, DType dtype) const {
  VITRAL_CHECK(tokens.rank() == 2 && tokens.dtype() == DType::int64 && tokens.dim(0) > 0 &&
                   tokens.dim(1) > 0 && tokens.dim(1) <= config().context,
               "CLIP text tower: tokens {} {} must be int64 [T, L] with L up to {}", tokens.dtype(),
               tokens.shape(), config().context);
  const Tensor seen = up_to_the_ends(tokens);
  const std::int64_t l = seen.dim(1);
  const Variable positions =
      l == config().context ? positional_embedding_ : slice(positional_embedding_, 0, 0, l);
  const Variable x = transformer_.of_picked(
      cast(add(embedding(token_embedding_, seen), positions), dtype),
      [&](const Variable& tokens_of_texts) { return end_of_text_pooling(tokens_of_texts, seen); });
  return matmul(ln_final_(cast(x, text_projection_.dtype())), text_projection_);
}

std::unique_ptr<TextTower> load_clip_text(const data::NamedTensors& tensors, const Metadata& config,
                                          const std::string& where) {
  const data::NamedTensors state = clip_text_part(tensors, where);
  const auto need = [&](std::string_view name) {
    return required_weights(state, name, 2, tower_name, where).shape();
  };
  const Shape table = need("token_embedding.weight"), position = need("positional_embedding");
  VITRAL_CHECK(
      std::ranges::any_of(state, [](const auto& entry) { return entry.first == "text_projection"; }),
      "{}: holds CLIP's text tower without the projection into the space of images (as CLIPTextModel does); "
      "save CLIPModel or CLIPTextModelWithProjection",
      where);
  const Shape proj = need("text_projection");
  VITRAL_CHECK(
      position[1] == table[1] && proj[0] == table[1],
      "{}: token_embedding.weight {}, positional_embedding {} and text_projection {} do not fit each other",
      where, table, position, proj);
  VITRAL_CHECK(table[0] < 1 << 30 && table[1] < 1 << 20 && position[0] < 1 << 20 && proj[1] < 1 << 20,
               "{}: a CLIP text tower with a token embedding of {} is too large", where, table);
  TextTowerConfig c = clip_text_config();
  c.context = static_cast<int>(position[0]);
  c.vocabulary = static_cast<int>(table[0]);
  c.embedding = static_cast<int>(proj[1]);
  c.layers = count_layers(state, tower_name, where);
  c.block = block_config(state, HuggingFaceConfig(config, "text_config", where), table[1], c.block,
                         tower_name, where);
  return tower_of<ClipTextTower>(c, state, where);
}

}  // namespace vitral::models
