// The student's head in one kernel: split, softmax over tokens, same-norm and convex sum. After
// TinyVolt/multimodal-patch-embeddings. autograd/patch_pooling.cpp has the same as a composition.
//
// x [B,N,H (D+1)], each token H heads of D + 1 numbers:
//   logit_n = mean over heads of the last of the D + 1;  p = softmax_N(logits / temperature)
//   r_n = the others, joined [W], W = H D;  e_n = r_n / |r_n| * min(scale, 10), or r_n where scale is
//   undefined embedding = sum_n p_n e_n
//
// scale [1], embedding and probs are float32 for a float32 or bfloat16 x, float64 for float64; patches has
// the dtype of x or that of embedding.
#pragma once
#include "tensor/kernel.h"

namespace vitral::kernel {

/// embedding [B,W], probs [B,N]; patches = e [B,N,W] is written where it is defined.
inline constinit Kernel<void(Tensor& embedding, Tensor& probs, Tensor& patches, const Tensor& x,
                             const Tensor& scale, std::int64_t heads, double temperature)>
    patch_pooling{"patch_pooling"};
/// With g = dembedding:  dp_n = g . e_n;  dlogit_n = p_n (dp_n - sum_m p_m dp_m) / temperature, a heads'
/// share of it to each head's last number;  de_n = p_n g;  with scale, u_n = r_n / |r_n| and f = min(scale,
/// 10): dr_n = f (de_n - u_n (u_n . de_n)) / |r_n|;  dscale [1] = sum_B sum_n p_n (g . u_n) where scale <=
/// 10, else 0. Overwrites; dscale is undefined where scale is.
inline constinit Kernel<void(Tensor& dx, Tensor& dscale, const Tensor& dembedding, const Tensor& x,
                             const Tensor& scale, const Tensor& probs, std::int64_t heads,
                             double temperature)>
    patch_pooling_backward{"patch_pooling_backward"};

}  // namespace vitral::kernel
