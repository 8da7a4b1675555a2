// Softmax over the last dimension, with the maximum subtracted first.
#pragma once
#include "tensor/kernel.h"

namespace vitral::kernel {

/// y = exp(x - max) / sum exp(x - max);  x, y [R,W].
inline constinit Kernel<void(Tensor& y, const Tensor& x)> softmax{"softmax"};
/// dx = y (dy - sum_W(dy y)).
inline constinit Kernel<void(Tensor& dx, const Tensor& dy, const Tensor& y)> softmax_backward{
    "softmax_backward"};

}  // namespace vitral::kernel
