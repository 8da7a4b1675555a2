#include "nn/attention.h"

namespace vitral::nn {

Attention::Attention(std::int64_t width, std::int64_t heads, AttentionMask mask, Random& random)
    : in_proj_weight(linear_weight("in_proj_weight", xavier_uniform({3 * width, width}, random))),
      in_proj_bias(parameter("in_proj_bias", Tensor::zeros({3 * width}))),
      out_proj(child<Linear>("out_proj", width, width, random, Tensor::zeros({width}))),
      heads_(heads),
      mask_(mask) {}

Variable Attention::operator()(const Variable& x, Variable* mean_weights) const {
  const Variable qkv = linear(x, in_proj_weight, in_proj_bias);
  if (mean_weights) *mean_weights = mean(attention_weights(qkv, heads_), 1);
  if (mask_.causal) return out_proj(causal_attention(qkv, heads_));
  if (mask_.neighbourhood) return out_proj(neighbourhood_attention(qkv, heads_, *mask_.neighbourhood));
  return out_proj(attention(qkv, heads_));
}

}  // namespace vitral::nn
