// Pointwise operations of two tensors with NumPy broadcasting, and what their gradients need.
#pragma once
#include "tensor/kernel.h"

namespace vitral {

enum class BinaryOp { add, sub, mul, div, minimum, less_equal };

/// The shape that a and b broadcast to (NumPy's rule); UsageError "OPERATION: [2, 3] and [4] do not
/// broadcast, ...".
Shape broadcast_shape(const char* operation, const Shape& a, const Shape& b);

namespace kernel {

/// y = a op b; y has the broadcast shape. less_equal gives 1 and 0.
inline constinit Kernel<void(Tensor& y, const Tensor& a, const Tensor& b, BinaryOp op)> binary{"binary"};
/// y = factor x + shift, same shape.
inline constinit Kernel<void(Tensor& y, const Tensor& x, double factor, double shift)> affine{"affine"};
/// y += x, same shape. Accumulates.
inline constinit Kernel<void(Tensor& y, const Tensor& x)> add_to{"add_to"};

}  // namespace kernel
}  // namespace vitral
