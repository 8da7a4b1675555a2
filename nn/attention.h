// Multi-head self-attention with stacked input projections, as torch.nn.MultiheadAttention names and stores
// them.
//   x -> in_proj -> q, k, v [B,N,W] -> H heads of size W / H -> softmax(q k^T / sqrt(W / H)) v -> out_proj
#pragma once
#include <optional>

#include "nn/linear.h"
#include "nn/module.h"

namespace vitral::nn {

/// Which tokens a token sees: all of them, or those of its neighbourhood, or (causal) none of the later ones.
struct AttentionMask {
  std::optional<Neighbourhood> neighbourhood = {};
  bool causal = false;
};

class Attention : public Module {
 public:
  Attention(std::int64_t width, std::int64_t heads, AttentionMask mask, Random& random);

  /// x [B,N,W] -> [B,N,W]. `mean_weights`, where asked for: the weights of unmasked attention, averaged over
  /// heads, [B,N,N].
  Variable operator()(const Variable& x, Variable* mean_weights = nullptr) const;

  Parameter& in_proj_weight;  // [3 W,W]: q, k, v
  Parameter& in_proj_bias;    // [3 W]
  Linear& out_proj;

 private:
  std::int64_t heads_;
  AttentionMask mask_;
};

}  // namespace vitral::nn
