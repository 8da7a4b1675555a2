// Copies that change the layout.
#pragma once
#include <array>

#include "tensor/kernel.h"
#include "tensor/ops/axis_view.h"

namespace vitral::kernel {

/// y[o,k,i] = x[o,begin + k,i] for k < size;  x viewed as s.whole, y as [outer, size, inner].
inline constinit Kernel<void(Tensor& y, const Tensor& x, AxisSlice s)> slice{"slice"};
/// x[o,begin + k,i] = y[o,k,i]; the rest of x stays as it is.
inline constinit Kernel<void(Tensor& x, const Tensor& y, AxisSlice s)> write_slice{"write_slice"};

using Axes = std::array<int, Shape::max_rank>;
/// y's axis i is x's axis axes[i].
inline constinit Kernel<void(Tensor& y, const Tensor& x, Axes axes)> permute{"permute"};

}  // namespace vitral::kernel
