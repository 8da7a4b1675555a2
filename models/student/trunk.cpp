#include "models/student/trunk.h"

#include <cmath>

namespace vitral::models {
namespace {

// One a layer.
std::vector<nn::BlockConfig> blocks_of(const StudentConfig& c) {
  nn::BlockConfig block{.width = c.internal_width(), .heads = c.heads};
  if (c.attention == "neighbourhood")
    block.mask.neighbourhood = Neighbourhood{{c.grid(), c.grid()}, c.window};
  return std::vector(static_cast<std::size_t>(c.layers), block);
}

}  // namespace

Trunk::Trunk(const StudentConfig& c, Random random)
    : conv1_(child<nn::PatchEmbedding>("conv1", 3, c.internal_width(), c.patch_size, random)),
      positional_embedding_(
          parameter("positional_embedding",
                    nn::normal({c.tokens(), c.internal_width()},
                               1 / std::sqrt(static_cast<double>(c.internal_width())), random))),
      ln_pre_(child<nn::LayerNorm>("ln_pre", c.internal_width())),
      transformer_(child<nn::Transformer>("transformer", blocks_of(c), random)) {}

Variable Trunk::operator()(const Variable& patches, const nn::ForwardContext& context) const {
  return transformer_(ln_pre_.add(conv1_.of_patches(patches), positional_embedding_).norm, context);
}

}  // namespace vitral::models
