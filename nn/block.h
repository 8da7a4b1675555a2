// Pre-norm residual block of CLIP's transformers (Radford et al. 2021, arXiv 2103.00020):
//   x += attn(ln_1(x));  x += mlp.c_proj(quick_gelu(mlp.c_fc(ln_2(x))))
#pragma once
#include "nn/attention.h"
#include "nn/layer_norm.h"

namespace vitral::nn {

class Mlp : public Module {
 public:
  Mlp(std::int64_t width, std::int64_t hidden, Random& random)
      : c_fc(child<Linear>("c_fc", width, hidden, random)),
        c_proj(child<Linear>("c_proj", hidden, width, random)) {}

  /// x [...,W] -> [...,W]
  Variable operator()(const Variable& x) const { return c_proj(quick_gelu(c_fc(x))); }

  Linear& c_fc;
  Linear& c_proj;
};

class ResidualBlock : public Module {
 public:
  /// The hidden width of the MLP is 4 W.
  ResidualBlock(std::int64_t width, std::int64_t heads, AttentionMask mask, Random& random)
      : attn(child<Attention>("attn", width, heads, mask, random)),
        ln_1(child<LayerNorm>("ln_1", width)),
        ln_2(child<LayerNorm>("ln_2", width)),
        mlp(child<Mlp>("mlp", width, 4 * width, random)) {}

  /// x [B,N,W] -> [B,N,W]
  Variable operator()(const Variable& x) const {
    const Variable middle = add(x, attn(ln_1(x)));
    return add(middle, mlp(ln_2(middle)));
  }

  Attention& attn;
  LayerNorm& ln_1;
  LayerNorm& ln_2;
  Mlp& mlp;
};

/// Blocks in a row, stored as resblocks.0, resblocks.1, ...
class Transformer : public Module {
 public:
  Transformer(std::int64_t width, std::int64_t layers, std::int64_t heads, AttentionMask mask,
              Random& random) {
    for (std::int64_t i = 0; i < layers; ++i)
      blocks_.push_back(&child<ResidualBlock>("resblocks." + std::to_string(i), width, heads, mask, random));
  }

  Variable operator()(Variable x) const {
    for (const auto* block : blocks_) x = (*block)(x);
    return x;
  }

 private:
  std::vector<ResidualBlock*> blocks_;
};

}  // namespace vitral::nn
