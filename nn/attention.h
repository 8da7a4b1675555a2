// Multi-head self-attention with stacked input projections, as torch.nn.MultiheadAttention names and stores
// them.
//   x -> in_proj -> q, k, v [B,N,W] -> H heads of size W / H -> softmax(q k^T / sqrt(W / H)) v -> out_proj
// with q and k turned by their places before, where they have some (autograd's rope()).
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

struct AttentionConfig {
  std::int64_t width = 0;  // W
  std::int64_t heads = 0;  // H, which divides W
  AttentionMask mask = {};
  std::optional<TokenGrid> rope = {};  // places of the first tokens, where q and k are turned by them
};

class Attention : public Module {
 public:
  Attention(const AttentionConfig& config, Random& random);

  /// x [B,N,W] -> [B,N,W]. `mean_weights`, where asked for: the weights of unmasked attention, averaged over
  /// heads, [B,N,N].
  Variable operator()(const Variable& x, Variable* mean_weights = nullptr) const {
    return out_proj(seen(x, mean_weights));
  }
  /// The same without out_proj: what each token sees, all heads side by side.
  Variable seen(const Variable& x, Variable* mean_weights = nullptr) const;

  Parameter& in_proj_weight;  // [3 W,W]: q, k, v
  Parameter& in_proj_bias;    // [3 W]
  Linear& out_proj;

 private:
  AttentionConfig config_;
};

}  // namespace vitral::nn
