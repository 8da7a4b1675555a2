// Pre-norm residual block of CLIP's transformers (Radford et al. 2021, arXiv 2103.00020):
//   x += attn(ln_1(x));  x += mlp.c_proj(quick_gelu(mlp.c_fc(ln_2(x))))
#pragma once
#include "nn/attention.h"
#include "nn/layer_norm.h"

namespace vitral::nn {

/// Between the two layers of an MLP: OpenAI's CLIP has quick_gelu, some of its retrained relatives gelu_erf.
enum class Activation : std::uint8_t { quick_gelu, gelu_erf };

class Mlp : public Module {
 public:
  Mlp(std::int64_t width, std::int64_t hidden, Random& random, Activation activation = {})
      : c_fc(child<Linear>("c_fc", width, hidden, random)),
        c_proj(child<Linear>("c_proj", hidden, width, random)),
        activation_(activation) {}

  /// x [...,W] -> [...,W]
  Variable operator()(const Variable& x) const {
    return activation_ == Activation::gelu_erf ? c_proj(gelu_erf(c_fc(x)))
                                               : quick_gelu_linear(c_fc(x), c_proj.weight, c_proj.bias);
  }

  Linear& c_fc;
  Linear& c_proj;

 private:
  Activation activation_;
};

class ResidualBlock : public Module {
 public:
  /// The hidden width of the MLP is 4 W.
  ResidualBlock(std::int64_t width, std::int64_t heads, AttentionMask mask, Random& random,
                Activation activation = {})
      : attn(child<Attention>("attn", width, heads, mask, random)),
        ln_1(child<LayerNorm>("ln_1", width)),
        ln_2(child<LayerNorm>("ln_2", width)),
        mlp(child<Mlp>("mlp", width, 4 * width, random, activation)) {}

  /// x [B,N,W] -> [B,N,W]
  Variable operator()(const Variable& x) const {
    const auto [middle, delta] = before_last_sum(x, ln_1(x));
    return add(middle, delta);
  }

  /// The block of x, whose ln_1 is known, without its last addition.
  struct Summands {
    Variable middle, delta;
  };
  Summands before_last_sum(const Variable& x, const Variable& normed) const {
    SumAndNorm first = ln_2.add(x, attn(normed));
    return {std::move(first.sum), mlp(first.norm)};
  }

  Attention& attn;
  LayerNorm& ln_1;
  LayerNorm& ln_2;
  Mlp& mlp;
};

/// Blocks in a row, stored as resblocks.0, resblocks.1, ...
class Transformer : public Module {
 public:
  Transformer(std::int64_t width, std::int64_t layers, std::int64_t heads, AttentionMask mask, Random& random,
              Activation activation = {}) {
    for (std::int64_t i = 0; i < layers; ++i)
      blocks_.push_back(
          &child<ResidualBlock>("resblocks." + std::to_string(i), width, heads, mask, random, activation));
  }

  /// As the blocks one after the other, but that each second residual addition goes together with the
  /// normalisation that follows it in the next block. `last_weights`, where asked for:
  /// Attention::mean_weights of the last block.
  Variable operator()(Variable x, Variable* last_weights = nullptr) const {
    if (blocks_.empty()) return x;
    Variable normed = blocks_.front()->ln_1(x);
    for (std::size_t i = 0;; ++i) {
      if (last_weights && i + 1 == blocks_.size()) *last_weights = blocks_[i]->attn.mean_weights(normed);
      const auto [middle, delta] = blocks_[i]->before_last_sum(x, normed);
      if (i + 1 == blocks_.size()) return add(middle, delta);
      SumAndNorm next = blocks_[i + 1]->ln_1.add(middle, delta);
      x = std::move(next.sum);
      normed = std::move(next.norm);
    }
  }

 private:
  std::vector<ResidualBlock*> blocks_;
};

}  // namespace vitral::nn
