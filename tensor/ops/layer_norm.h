// Normalisation over the last dimension.
//   layer_norm  y = (x - mean) * rstd * weight + bias,  rstd = 1 / sqrt(var + eps),  var with divisor W
//               (Ba, Kiros, Hinton 2016, arXiv 1607.06450)
//   rms_norm    y = x * rstd * weight,  rstd = 1 / sqrt(mean_W(x^2) + eps)
//               (Zhang and Sennrich 2019, arXiv 1910.07467): the same without mean, bias and dbias, which are
//               undefined tensors in all of its kernels
//
// x, y and their gradients share one dtype; weight and bias have it, too, or float32 beside bfloat16. mean,
// rstd and the gradients of weight and bias have the dtype of weight. Sums are made in that dtype or better.
#pragma once
#include "tensor/kernel.h"

namespace vitral {

/// Of each of R rows, saved for backward: mean and rstd [R].
struct RowStatistics {
  Tensor mean, rstd;
  std::size_t bytes() const { return (mean.defined() ? mean.bytes() : 0) + rstd.bytes(); }
};

using NormKernel = Kernel<void(Tensor& y, const RowStatistics& rows, const Tensor& x, const Tensor& weight,
                               const Tensor& bias, double eps)>;
using AddNormKernel = Kernel<void(Tensor& sum, Tensor& y, const RowStatistics& rows, const Tensor& x,
                                  const Tensor& delta, const Tensor& weight, const Tensor& bias, double eps)>;
using NormApplyKernel = Kernel<void(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                                    const RowStatistics& rows)>;
using NormBackwardKernel =
    Kernel<void(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x,
                const Tensor& weight, const RowStatistics& rows, bool add)>;

namespace kernel {

/// x, y [R,W]; weight, bias [W]. Writes the statistics.
inline constinit NormKernel layer_norm{"layer_norm"};
inline constinit NormKernel rms_norm{"rms_norm"};
/// The same of sum = x + delta, which is written, too: x, sum [R,W] in one pass. delta [P,W] with P dividing
/// R: row r gets row r % P; its dtype is that of x or of weight.
inline constinit AddNormKernel add_layer_norm{"add_layer_norm"};
inline constinit AddNormKernel add_rms_norm{"add_rms_norm"};
/// y from the saved statistics, for the recomputation in backward: the same bits as forward.
inline constinit NormApplyKernel layer_norm_apply{"layer_norm_apply"};
inline constinit NormApplyKernel rms_norm_apply{"rms_norm_apply"};
/// xhat = (x - mean) rstd;  g = dy weight;  dx = rstd (g - mean_W(g) - xhat mean_W(g xhat));
/// dweight = sum_R dy xhat;  dbias = sum_R dy; of rms_norm with mean and mean_W(g) = 0. Overwrites; with
/// `add`, dx is added to what it holds: the gradient that x gets from elsewhere, as in a residual block.
inline constinit NormBackwardKernel layer_norm_backward{"layer_norm_backward"};
inline constinit NormBackwardKernel rms_norm_backward{"rms_norm_backward"};

}  // namespace kernel
}  // namespace vitral
