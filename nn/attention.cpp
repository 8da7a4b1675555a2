#include "nn/attention.h"

namespace vitral::nn {

Attention::Attention(const AttentionConfig& c, Random& random)
    : in_proj_weight(linear_weight("in_proj_weight", xavier_uniform({3 * c.width, c.width}, random))),
      in_proj_bias(parameter("in_proj_bias", Tensor::zeros({3 * c.width}))),
      out_proj(child<Linear>("out_proj", c.width, c.width, random, Tensor::zeros({c.width}))),
      config_(c) {}

Variable Attention::seen(const Variable& x, Variable* mean_weights) const {
  const auto& [width, heads, mask, grid] = config_;
  Variable qkv = linear(x, in_proj_weight, in_proj_bias);
  if (grid) qkv = rope(qkv, heads, *grid);
  if (mean_weights) *mean_weights = mean(attention_weights(qkv, heads), 1);
  if (mask.causal) return causal_attention(qkv, heads);
  if (mask.neighbourhood) return neighbourhood_attention(qkv, heads, *mask.neighbourhood);
  return attention(qkv, heads);
}

}  // namespace vitral::nn
