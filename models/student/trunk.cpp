#include "models/student/trunk.h"

#include <cmath>

namespace vitral::models {
namespace {

// What all blocks have alike.
nn::BlockConfig block_of(const StudentConfig& c) {
  return {.width = c.internal_width(),
          .heads = c.heads,
          .mlp = c.mlp,
          .mlp_ratio = c.mlp_ratio,
          .norm = c.norm,
          .eps = c.norm == "rms_norm" ? 1e-6 : 1e-5};
}

// One a layer.
std::vector<nn::BlockConfig> blocks_of(const StudentConfig& c) {
  const TokenGrid grid{c.grid(), c.grid()};
  std::vector<nn::BlockConfig> blocks(static_cast<std::size_t>(c.layers), block_of(c));
  for (int layer = 0; layer < c.layers; ++layer) {
    nn::BlockConfig& block = blocks[static_cast<std::size_t>(layer)];
    if (c.attention[layer] == "neighbourhood")
      block.mask.neighbourhood = Neighbourhood{grid, c.window[layer], c.dilation[layer], c.registers};
    if (c.position == "rope") block.rope = grid;
    block.layer = layer;
    if (layer > 0) block.drop_path = c.drop_path * layer / (c.layers - 1);
  }
  blocks.back().residual = c.last_block == "residual";
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
      ln_pre_(child("ln_pre", nn::make_norm(block_of(c).norm, c.internal_width(), block_of(c).eps))),
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
