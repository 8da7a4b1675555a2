// Layer normalisation over the last dimension (Ba, Kiros, Hinton 2016, arXiv 1607.06450).
//   y = (x - mean) * rstd * weight + bias,  rstd = 1 / sqrt(var + eps),  var with divisor W
#pragma once
#include "tensor/kernel.h"

namespace vitral::kernel {

/// x, y [R,W]; weight, bias [W]; mean, rstd [R] are saved for backward.
inline constinit Kernel<void(Tensor& y, Tensor& mean, Tensor& rstd, const Tensor& x, const Tensor& weight,
                             const Tensor& bias, double eps)>
    layer_norm{"layer_norm"};
/// y from the saved mean and rstd, for the recomputation in backward: the same bits as forward.
inline constinit Kernel<void(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                             const Tensor& mean, const Tensor& rstd)>
    layer_norm_apply{"layer_norm_apply"};
/// xhat = (x - mean) rstd;  g = dy weight;  dx = rstd (g - mean_W(g) - xhat mean_W(g xhat));
/// dweight = sum_R dy xhat;  dbias = sum_R dy. Overwrites.
inline constinit Kernel<void(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x,
                             const Tensor& weight, const Tensor& mean, const Tensor& rstd)>
    layer_norm_backward{"layer_norm_backward"};

}  // namespace vitral::kernel
