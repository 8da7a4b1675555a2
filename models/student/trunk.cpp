#include "models/student/trunk.h"

#include <cmath>

namespace vitral::models {
namespace {

// One a layer.
std::vector<nn::BlockConfig> blocks_of(const StudentConfig& c) {
  const TokenGrid grid{c.grid(), c.grid()};
  std::vector<nn::BlockConfig> blocks;
  for (int layer = 0; layer < c.layers; ++layer) {
    nn::BlockConfig& block = blocks.emplace_back();
    block.width = c.internal_width();
    block.heads = c.heads;
    if (c.attention[layer] == "neighbourhood")
      block.mask.neighbourhood = Neighbourhood{grid, c.window[layer], c.dilation[layer], c.registers};
    if (c.position == "rope") block.rope = grid;
  }
  return blocks;
}

}  // namespace

// Numbers for a positional embedding are drawn in any case, those of registers last: a seed gives the same
// other weights with and without them.
Trunk::Trunk(const StudentConfig& c, Random random)
    : conv1_(child<nn::PatchEmbedding>("conv1", 3, c.internal_width(), c.patch_size, random)),
      positional_embedding_([&] {
        Tensor drawn = nn::normal({c.tokens(), c.internal_width()},
                                  1 / std::sqrt(static_cast<double>(c.internal_width())), random);
        return c.position == "learned" ? &parameter("positional_embedding", std::move(drawn)) : nullptr;
      }()),
      ln_pre_(child<nn::LayerNorm>("ln_pre", c.internal_width())),
      transformer_(child<nn::Transformer>("transformer", blocks_of(c), random)),
      registers_(c.registers == 0
                     ? nullptr
                     : &parameter("registers", nn::normal({c.registers, c.internal_width()}, 0.02, random))) {
}

Variable Trunk::operator()(const Variable& patches, const nn::ForwardContext& context) const {
  const Variable x = conv1_.of_patches(patches);
  const Variable tokens = positional_embedding_ ? ln_pre_.add(x, *positional_embedding_).norm : ln_pre_(x);
  if (!registers_) return transformer_(tokens, context);
  return slice(transformer_(append_tokens(tokens, *registers_), context), 1, 0, tokens.dim(1));
}

}  // namespace vitral::models
