// The fused operations of autograd/ops.h from simpler ones: what the tests compare them with, and what runs
// where a device has no kernel. Same arguments, same results up to rounding.
#pragma once
#include <functional>

#include "autograd/ops.h"

namespace vitral::composed {

Variable linear(const Variable& x, const Variable& weight, const Variable& bias);
/// f: the activation as an operation, quick_gelu say.
Variable activation_linear(Variable (*f)(const Variable&), const Variable& h, const Variable& weight,
                           const Variable& bias);

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, double eps = 1e-5);
SumAndNorm add_layer_norm(const Variable& x, const Variable& delta, const Variable& weight,
                          const Variable& bias, double eps = 1e-5);
Variable rms_norm(const Variable& x, const Variable& weight, double eps = 1e-6);
SumAndNorm add_rms_norm(const Variable& x, const Variable& delta, const Variable& weight, double eps = 1e-6);
Variable l2_normalize(const Variable& x);
Variable append_tokens(const Variable& x, const Variable& tokens);
Variable softmax(const Variable& x);

/// [N,N] for qkv [B,N,3 H D]: 0 where token i sees j, else minus infinity.
Variable attention_mask(const Variable& qkv, const std::function<bool(std::int64_t i, std::int64_t j)>& sees);
/// softmax(q k^T / sqrt(D) + mask)  [B,H,N,N]; mask [N,N], undefined: all see all.
Variable attention_weights(const Variable& qkv, std::int64_t heads, const Variable& mask = {});
Variable attention(const Variable& qkv, std::int64_t heads, const Variable& mask = {});
Variable causal_attention(const Variable& qkv, std::int64_t heads);
Variable neighbourhood_attention(const Variable& qkv, std::int64_t heads, const Neighbourhood& n);
Variable rope(const Variable& qkv, std::int64_t heads, const TokenGrid& grid);

/// e [B,N,W] / |e| * min(scale, 10) for a scale [1]; e itself where that is undefined.
Variable same_norm(const Variable& e, const Variable& scale);
/// [B,W] = sum_n probs_n e_n;  probs [B,1,N], e [B,N,W].
Variable convex_sum(const Variable& probs, const Variable& e);
/// All that the student's head computes, each with its gradient; float32 for a bfloat16 x.
struct PooledPatches {
  Variable embedding;  // [B,W] = sum_n probs_n patches_n
  Variable probs;      // [B,N]
  Variable patches;    // [B,N,W], same-norm where scale is defined
};
PooledPatches patch_pooling(const Variable& x, const Variable& scale, std::int64_t heads,
                            double temperature = 1);
/// What both spellings ask of their arguments.
void check_patch_pooling(const Variable& x, const Variable& scale, std::int64_t heads, double temperature);

Variable distillation_loss(const Variable& y, const Variable& t, double norm = 20);

}  // namespace vitral::composed
