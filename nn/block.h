// Pre-norm residual block of CLIP's transformers (Radford et al. 2021, arXiv 2103.00020), and blocks in a
// row:
//   x += attn(ln_1(x));  x += mlp(ln_2(x))
// or without residuals and MLP, as a last block (ClearCLIP: Lan et al. 2024, arXiv 2407.12442):
//   x = attn(ln_1(x))
#pragma once
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
  std::string mlp = "quick_gelu";      // its kind (nn/mlp.h)
  double mlp_ratio = 4;                // width of its hidden layer / W, see hidden_width()
  std::string norm = "layer_norm";     // nn/norm.h
  double eps = 1e-5;                   // of the norms
  bool residual = true;                // false: x = attn(ln_1(x)), and there are no ln_2 and mlp
  /// Stochastic depth: in training, each of the two branches is left out with this probability (drop_path in
  /// autograd/ops.h), by numbers that belong to `layer`.
  double drop_path = 0;
  int layer = 0;

  std::int64_t hidden() const { return hidden_width(width, mlp_ratio, mlp); }
};

class ResidualBlock : public Module {
 public:
  ResidualBlock(const BlockConfig& c, Random& random)
      : attn(child<Attention>("attn", AttentionConfig{c.width, c.heads, c.mask, c.rope}, random)),
        ln_1(child("ln_1", make_norm(c.norm, c.width, c.eps))),
        ln_2(c.residual ? &child("ln_2", make_norm(c.norm, c.width, c.eps)) : nullptr),
        mlp(c.residual ? &child("mlp", make_mlp({c.width, c.hidden(), c.mlp}, random)) : nullptr),
        drop_path_(c.drop_path),
        layer_(c.layer) {}

  /// `weights`, where asked for: the mean weights of Attention.
  void operator()(ResidualStream& s, const ForwardContext& context = {}, Variable* weights = nullptr) const {
    Variable seen = attn(s.normed(ln_1), weights);
    if (!mlp) {
      s = ResidualStream(std::move(seen));
      return;
    }
    s += branch(0, std::move(seen), context);
    s += branch(1, (*mlp)(s.normed(*ln_2)), context);
  }

  /// The block alone: x [B,N,W] -> [B,N,W]
  Variable operator()(const Variable& x, const ForwardContext& context = {}) const {
    ResidualStream s(x);
    (*this)(s, context);
    return s.sum();
  }

  /// The block where nobody asks for most of its results: of the tokens that pick(x [B,N,W]) takes out, one
  /// or more an image, [B,...,W]. The others are seen by these, and go through nothing else.
  template <class Pick>
  Variable of_picked(ResidualStream& s, const Pick& pick, const ForwardContext& context = {}) const {
    Variable seen = attn.out_proj(pick(attn.seen(s.normed(ln_1))));
    if (!mlp) return seen;
    ResidualStream picked(pick(s.sum()));
    picked += branch(0, seen, context);
    picked += branch(1, (*mlp)(picked.normed(*ln_2)), context);
    return picked.sum();
  }

  Attention& attn;
  Norm& ln_1;
  Norm* ln_2;  // null without residual, as mlp
  Mlp* mlp;

 private:
  Variable branch(int number, Variable delta, const ForwardContext& context) const {
    if (drop_path_ == 0 || !context.training) return delta;
    return drop_path(delta, drop_path_, context.draws(layer_, number));
  }

  double drop_path_;
  int layer_;
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

  /// The tokens alone that pick(x [B,N,W]) takes out of it, as in ResidualBlock::of_picked().
  template <class Pick>
  Variable of_picked(const Variable& x, const Pick& pick, const ForwardContext& context = {}) const {
    ResidualStream s = up_to_last(x, context);
    return last().of_picked(s, pick, context);
  }

  /// For those who replace the last block: what it gets of x [B,N,W], and the block.
  Variable before_last(const Variable& x) const { return up_to_last(x, {}).sum(); }
  const ResidualBlock& last() const { return *blocks_.back(); }

 private:
  ResidualStream up_to_last(const Variable& x, const ForwardContext& context) const {
    ResidualStream s(x);
    for (const ResidualBlock* block : blocks_)
      if (block != blocks_.back()) (*block)(s, context);
    return s;
  }

  std::vector<ResidualBlock*> blocks_;
};

}  // namespace vitral::nn
