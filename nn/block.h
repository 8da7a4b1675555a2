// Pre-norm residual block of CLIP's transformers (Radford et al. 2021, arXiv 2103.00020), and blocks in a
// row:
//   x += attn(ln_1(x));  x += mlp.c_proj(f(mlp.c_fc(ln_2(x))))
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "nn/attention.h"
#include "nn/forward_context.h"
#include "nn/mlp.h"
#include "nn/residual_stream.h"

namespace vitral::nn {

/// All that a block is made from.
struct BlockConfig {
  std::int64_t width = 0;  // W
  std::int64_t heads = 0;  // H, which divides W
  AttentionMask mask = {};
  std::optional<TokenGrid> rope = {};  // as in AttentionConfig
  Activation activation = Activation::quick_gelu;
  double mlp_ratio = 4;  // width of the MLP's hidden layer / W
  double eps = 1e-5;     // of the norms

  std::int64_t hidden() const { return std::llround(mlp_ratio * static_cast<double>(width)); }
};

class ResidualBlock : public Module {
 public:
  ResidualBlock(const BlockConfig& c, Random& random)
      : attn(child<Attention>("attn", AttentionConfig{c.width, c.heads, c.mask, c.rope}, random)),
        ln_1(child<LayerNorm>("ln_1", c.width, c.eps)),
        ln_2(child<LayerNorm>("ln_2", c.width, c.eps)),
        mlp(child("mlp", make_mlp({c.width, c.hidden(), c.activation}, random))) {}

  /// `weights`, where asked for: the mean weights of Attention. Nothing in here depends on the context.
  void operator()(ResidualStream& s, const ForwardContext& /*context*/ = {},
                  Variable* weights = nullptr) const {
    s += attn(s.normed(ln_1), weights);
    s += mlp(s.normed(ln_2));
  }

  /// The block alone: x [B,N,W] -> [B,N,W]
  Variable operator()(const Variable& x, const ForwardContext& context = {}) const {
    ResidualStream s(x);
    (*this)(s, context);
    return s.sum();
  }

  Attention& attn;
  LayerNorm& ln_1;
  LayerNorm& ln_2;
  Mlp& mlp;
};

/// Blocks in a row, stored as resblocks.0, resblocks.1, ...
class Transformer : public Module {
 public:
  Transformer(int layers, const BlockConfig& block, Random& random)
      : Transformer(std::vector(static_cast<std::size_t>(layers), block), random) {}
  /// One configuration a block; all have one width.
  Transformer(const std::vector<BlockConfig>& blocks, Random& random) {
    for (std::size_t i = 0; i < blocks.size(); ++i)
      blocks_.push_back(&child<ResidualBlock>("resblocks." + std::to_string(i), blocks[i], random));
  }

  /// x [B,N,W] -> [B,N,W]. `last_weights`, where asked for: the mean weights of the last block's Attention.
  Variable operator()(const Variable& x, const ForwardContext& context = {},
                      Variable* last_weights = nullptr) const {
    ResidualStream s(x);
    for (const ResidualBlock* block : blocks_)
      (*block)(s, context, block == blocks_.back() ? last_weights : nullptr);
    return s.sum();
  }

  /// For those who replace the last block: what it gets of x [B,N,W], and the block.
  Variable before_last(const Variable& x) const {
    ResidualStream s(x);
    for (const ResidualBlock* block : blocks_)
      if (block != blocks_.back()) (*block)(s);
    return s.sum();
  }
  const ResidualBlock& last() const { return *blocks_.back(); }

 private:
  std::vector<ResidualBlock*> blocks_;
};

}  // namespace vitral::nn
