// The differentiable operations. Shapes are row-major and batch-first; a leading "..." stands for any number
// of dimensions. All work on float32, float64 and bfloat16, where parameters (weight, bias, scale) may be
// float32 beside it. Wrong shapes throw UsageError with the operation, both shapes and the rule.
#pragma once
#include <initializer_list>
#include <vector>

#include "autograd/variable.h"
#include "autograd/weight.h"
#include "tensor/ops/attention.h"
#include "tensor/ops/drop_path.h"
#include "tensor/ops/pointwise.h"

namespace vitral {

// --- pointwise, one input (tensor/ops/pointwise.h has the list and the formulas) ---
#define VITRAL_DECLARE(name, Functor) Variable name(const Variable& x);
VITRAL_POINTWISE_OPS(VITRAL_DECLARE)
#undef VITRAL_DECLARE

// --- pointwise, two inputs with NumPy broadcasting ---
Variable add(const Variable& a, const Variable& b);
Variable sub(const Variable& a, const Variable& b);
Variable mul(const Variable& a, const Variable& b);
Variable div(const Variable& a, const Variable& b);
/// The smaller of the two; where they are equal the gradient goes to a.
Variable minimum(const Variable& a, const Variable& b);
/// factor x + shift.
Variable affine(const Variable& x, double factor, double shift = 0);

// --- shape ---
/// The same elements in another shape; one dimension may be -1.
Variable reshape(const Variable& x, std::initializer_list<std::int64_t> dims);
Variable reshape(const Variable& x, const Shape& shape);
/// The result's axis i is x's axis axes[i].
Variable permute(const Variable& x, std::initializer_list<int> axes);
/// Elements [begin, end) along one axis.
Variable slice(const Variable& x, int axis, std::int64_t begin, std::int64_t end);
/// Joins along one axis; all other dimensions are equal.
Variable concat(const std::vector<Variable>& parts, int axis);
/// The same tokens [R,W] behind those of every image, x [B,N,W]  ->  [B,N+R,W].
Variable append_tokens(const Variable& x, const Variable& tokens);
/// The same numbers in another floating dtype; x itself where it has it.
Variable cast(const Variable& x, DType dtype);

// --- reductions ---
/// All elements to [1].
Variable sum(const Variable& x);
Variable mean(const Variable& x);
/// One axis is removed.
Variable sum(const Variable& x, int axis);
Variable mean(const Variable& x, int axis);

// --- products ---
/// a [...,M,K], b [...,K,N] or [K,N]  ->  [...,M,N]. transpose_b: b is [...,N,K].
Variable matmul(const Variable& a, const Variable& b, bool transpose_b = false);
/// Weighted sums of tokens, y_r = sum_n weights_rn x_n:  x [B,N,W], weights [R,N]  ->  [B,R,W].
Variable mix_tokens(const Variable& x, const Variable& weights);
/// y = x weight^T + bias;  x [...,I], weight [O,I], bias [O] or undefined  ->  [...,O].
Variable linear(const Variable& x, const Weight& weight, const Weight& bias);

/// linear(f(h), weight, bias), the second half of an MLP: activation_linear(h, w, b,
/// activations::quick_gelu).
Variable activation_linear(const Variable& h, const Weight& weight, const Weight& bias,
                           const ActivationKernels& f);
/// The whole of it, linear(f(linear(x, first, first_bias)), second, second_bias); of int8 weights without
/// gradients its hidden layer is not stored.
Variable mlp(const Variable& x, const Weight& first, const Weight& first_bias, const Weight& second,
             const Weight& second_bias, const ActivationKernels& f);

// --- normalisation ---
/// Over the last dimension W: x [...,W], weight and bias [W]  ->  [...,W]. tensor/ops/layer_norm.h has the
/// formula.
Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, double eps = 1e-5);
/// The same without mean and bias: x / sqrt(mean(x^2) + eps) weight.
Variable rms_norm(const Variable& x, const Variable& weight, double eps = 1e-6);
struct SumAndNorm {
  Variable sum, norm;
};
/// sum = x + delta, norm = layer_norm(sum), in one pass: what happens between two halves of a
/// residual block. delta has the last dimensions of x, as many as it has.
SumAndNorm add_layer_norm(const Variable& x, const Variable& delta, const Variable& weight,
                          const Variable& bias, double eps = 1e-5);
/// The same with rms_norm.
SumAndNorm add_rms_norm(const Variable& x, const Variable& delta, const Variable& weight, double eps = 1e-6);
/// x / |x| over the last dimension, without epsilon.
Variable l2_normalize(const Variable& x);
/// Softmax over the last dimension.
Variable softmax(const Variable& x);
/// log sum exp(x) over the last dimension, which must not be empty: x [...,W] -> [...].
Variable logsumexp(const Variable& x);

// --- texts (tensor/ops/embedding.h): tokens int64, of which -1 is none ---
/// Rows of a table [V,W] for tokens [...]  ->  [...,W] on the table's device; zeros, and no gradient, for no
/// token. UsageError where tokens on the CPU name other rows; elsewhere these are none.
Variable embedding(const Variable& table, const Tensor& tokens);
/// x [T,L,W] where each text ends, at the first of the largest of its tokens [T,L]  ->  [T,W].
Variable end_of_text_pooling(const Variable& x, const Tensor& tokens);

// --- regularisation ---
/// Stochastic depth (tensor/ops/drop_path.h): samples of x [B,...] become zero with probability `rate`, the
/// others are multiplied by 1 / (1 - rate).
Variable drop_path(const Variable& x, double rate, const SampleDraws& draws);

// --- attention (tensor/ops/attention.h): qkv [B,N,3 H D]  ->  [B,N,H D] ---
Variable attention(const Variable& qkv, std::int64_t heads);
/// Token i sees j <= i only, as in a language model.
Variable causal_attention(const Variable& qkv, std::int64_t heads);
/// The weights of attention() alone, which it never holds: softmax_j(q_i . k_j / sqrt(D))  [B,H,N,N].
Variable attention_weights(const Variable& qkv, std::int64_t heads);
/// Token i sees its neighbourhood on the grid; n.tokens() is N.
Variable neighbourhood_attention(const Variable& qkv, std::int64_t heads, const Neighbourhood& n);
/// Turns q and k by their places (tensor/ops/rope.h): qkv [B,N,3 H D]  ->  the same. Tokens behind those of
/// the grid stay as they are.
Variable rope(const Variable& qkv, std::int64_t heads, const TokenGrid& grid);

// --- the student's head (tensor/ops/patch_pooling.h): x [B,N,H (D+1)], scale [1] or undefined, W = H D ---
/// The embedding [B,W], float32 for a bfloat16 x; composed::patch_pooling gives probs and patches, too.
Variable patch_pooling(const Variable& x, const Variable& scale, std::int64_t heads, double temperature = 1);

// --- images ---
/// images [B,C,H,W]  ->  [B,(H/patch) (W/patch),C patch patch]; patch divides H and W.
Variable patchify(const Variable& images, std::int64_t patch);

// --- losses, to [1] ---
/// Mean of (a - b)^2.
Variable mse_loss(const Variable& a, const Variable& b);
/// norm * mean | y/|y| - t/|t| |;  y, t [B,D]. Blind to the lengths of y and t.
Variable distillation_loss(const Variable& y, const Variable& t, double norm = 20);
/// CLIP's loss (Radford et al. 2021, arXiv 2103.00020, figure 3; InfoNCE, arXiv 1807.03748, both ways): with
/// logits_ij = exp(min(log_scale, ln 100)) cos(images_i, texts_j), the mean over i of
///   (logsumexp_j logits_ij + logsumexp_j logits_ji) / 2 - logits_ii
/// images, texts [B,E], of any length but 0; log_scale [1]; present float32 [B] of 1 and 0 (undefined: all):
/// pairs that are 0 are in no softmax and not in the mean, and may be any finite numbers; the loss of none is
/// 0. Computed in float32 for bfloat16, and of that type then.
Variable info_nce(const Variable& images, const Variable& texts, const Variable& log_scale,
                  const Tensor& present = Tensor());

}  // namespace vitral
