#include "models/clip/text_tower.h"

#include <algorithm>
#include <cmath>

#include "models/token_embedding.h"

namespace vitral::models {
namespace {

void check(const ClipTextConfig& c) {
  VITRAL_CHECK(
      c.context > 0 && c.vocabulary > 0 && c.width > 0 && c.layers > 0 && c.heads > 0 && c.embedding > 0,
      "CLIP text tower: context {}, vocabulary {}, width {}, layers {}, heads {} and embedding {} must be "
      "positive",
      c.context, c.vocabulary, c.width, c.layers, c.heads, c.embedding);
  VITRAL_CHECK(c.width % c.heads == 0, "CLIP text tower: heads {} must divide width {}", c.heads, c.width);
}

}  // namespace

ClipTextTower::ClipTextTower(const ClipTextConfig& config, std::uint64_t seed)
    : ClipTextTower((check(config), config), Random(seed, 0x58U)) {}

// Scales as in openai/CLIP, CLIP.initialize_parameters().
ClipTextTower::ClipTextTower(const ClipTextConfig& c, Random random)
    : config_(c),
      positional_embedding_(
          parameter("positional_embedding", nn::normal({c.context, c.width}, 0.01, random))),
      text_projection_(parameter(
          "text_projection", nn::normal({c.width, c.embedding}, 1 / std::sqrt(double{1} * c.width), random))),
      token_embedding_(
          parameter("token_embedding.weight", nn::normal({c.vocabulary, c.width}, 0.02, random))),
      transformer_(child<nn::Transformer>(
          "transformer", c.layers,
          nn::BlockConfig{
              .width = c.width, .heads = c.heads, .mask = {.causal = true}, .activation = c.activation},
          random)),
      ln_final_(child<nn::LayerNorm>("ln_final", c.width)) {}

Variable ClipTextTower::forward(const Tensor& tokens) const {
  VITRAL_CHECK(tokens.rank() == 2 && tokens.dtype() == DType::int64 && tokens.dim(0) > 0 &&
                   tokens.dim(1) > 0 && tokens.dim(1) <= config_.context,
               "CLIP text tower: tokens {} {} must be int64 [T, L] with L up to {}", tokens.dtype(),
               tokens.shape(), config_.context);
  const std::int64_t t = tokens.dim(0), n = tokens.dim(1), w = config_.width;
  const Variable x = transformer_(add(embedded_tokens(token_embedding_, tokens, "CLIP text tower"),
                                      slice(positional_embedding_, 0, 0, n)));
  std::vector<Variable> last;
  last.reserve(static_cast<std::size_t>(t));
  for (std::int64_t i = 0; i < t; ++i) {
    const auto* line = tokens.data<std::int64_t>() + i * n;
    const std::int64_t end = std::max_element(line, line + n) - line;
    last.push_back(reshape(slice(slice(x, 0, i, i + 1), 1, end, end + 1), {1, w}));
  }
  return matmul(ln_final_(concat(last, 0)), text_projection_);
}

}  // namespace vitral::models
