// Softmax over the last dimension and the logarithm of its denominator, with the maximum subtracted first.
#pragma once
#include "tensor/kernel.h"

namespace vitral::kernel {

/// y = exp(x - max) / sum exp(x - max);  x, y [R,W].
inline constinit Kernel<void(Tensor& y, const Tensor& x)> softmax{"softmax"};
/// dx = y (dy - sum_W(dy y)).
inline constinit Kernel<void(Tensor& dx, const Tensor& dy, const Tensor& y)> softmax_backward{
    "softmax_backward"};

/// y = max + log sum_W exp(x - max);  x [R,W], y [R,1]. Its gradient is softmax(x).
inline constinit Kernel<void(Tensor& y, const Tensor& x)> logsumexp{"logsumexp"};

}  // namespace vitral::kernel
