// Layer normalisation over the last dimension (Ba, Kiros, Hinton 2016, arXiv 1607.06450).
//   y = (x - mean) * rstd * weight + bias,  rstd = 1 / sqrt(var + eps),  var with divisor W
//
// x, y and their gradients share one dtype; weight and bias have it, too, or float32 beside bfloat16. mean,
// rstd and the gradients of weight and bias have the dtype of weight. Sums are made in that dtype or better.
#pragma once
#include "tensor/kernel.h"

namespace vitral {

/// Of each of R rows, saved for backward: mean and rstd [R].
struct RowStatistics {
  Tensor mean, rstd;
  std::size_t bytes() const { return mean.bytes() + rstd.bytes(); }
};

namespace kernel {

/// x, y [R,W]; weight, bias [W]. Writes the statistics.
inline constinit Kernel<void(Tensor& y, const RowStatistics& rows, const Tensor& x, const Tensor& weight,
                             const Tensor& bias, double eps)>
    layer_norm{"layer_norm"};
/// The same of sum = x + delta, which is written, too: x, sum [R,W] in one pass. delta [P,W] with P dividing
/// R: row r gets row r % P; its dtype is that of x or of weight.
inline constinit Kernel<void(Tensor& sum, Tensor& y, const RowStatistics& rows, const Tensor& x,
                             const Tensor& delta, const Tensor& weight, const Tensor& bias, double eps)>
    add_layer_norm{"add_layer_norm"};
/// y from the saved statistics, for the recomputation in backward: the same bits as forward.
inline constinit Kernel<void(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                             const RowStatistics& rows)>
    layer_norm_apply{"layer_norm_apply"};
/// xhat = (x - mean) rstd;  g = dy weight;  dx = rstd (g - mean_W(g) - xhat mean_W(g xhat));
/// dweight = sum_R dy xhat;  dbias = sum_R dy. Overwrites; with `add`, dx is added to what it holds: the
/// gradient that x gets from elsewhere, as in a residual block.
inline constinit Kernel<void(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x,
                             const Tensor& weight, const RowStatistics& rows, bool add)>
    layer_norm_backward{"layer_norm_backward"};

}  // namespace kernel
}  // namespace vitral
