// Reductions. Sums are made chunk by chunk in a fixed order: the same bits for any number of threads.
#pragma once
#include "tensor/kernel.h"
#include "tensor/ops/axis_view.h"

namespace vitral::kernel {

/// y[o,i] = factor * sum_n x[o,n,i]; y viewed as [outer, inner]. y has the dtype of x, or float32 beside
/// bfloat16.
inline constinit Kernel<void(Tensor& y, const Tensor& x, AxisView view, double factor)> sum_axis{"sum_axis"};
/// total (float64 [1], on the device of x) += sum of squares of x in double. Accumulates; NaN or
/// infinity in x show up in the total, which is how a training step finds them.
inline constinit Kernel<void(Tensor& total, const Tensor& x)> add_sum_of_squares{"add_sum_of_squares"};

}  // namespace vitral::kernel
