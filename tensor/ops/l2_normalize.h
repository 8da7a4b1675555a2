// Division of each row by its Euclidean norm. No epsilon: a row of zeros gives NaN, as in the original.
#pragma once
#include "tensor/kernel.h"

namespace vitral::kernel {

/// y = x / |x|;  x, y [R,W].
inline constinit Kernel<void(Tensor& y, const Tensor& x)> l2_normalize{"l2_normalize"};
/// dx = (dy - y sum_W(dy y)) / |x|.
inline constinit Kernel<void(Tensor& dx, const Tensor& dy, const Tensor& x)> l2_normalize_backward{
    "l2_normalize_backward"};

}  // namespace vitral::kernel
