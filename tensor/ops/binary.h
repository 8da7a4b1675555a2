// Pointwise operations of two tensors with NumPy broadcasting, and what their gradients need.
#pragma once
#include <array>

#include "tensor/kernel.h"

namespace vitral {

enum class BinaryOp { add, sub, mul, div, minimum, less_equal };

/// The shape that a and b broadcast to (NumPy's rule); UsageError "OPERATION: [2, 3] and [4] do not
/// broadcast, ...".
Shape broadcast_shape(const char* operation, const Shape& a, const Shape& b);

/// A broadcast as few loops as possible, innermost first: neighbouring dimensions over which both operands
/// step alike are merged. At least one loop; strides in elements, 0 where an operand is repeated.
struct BroadcastLoops {
  int rank = 0;
  std::array<std::int64_t, Shape::max_rank> size{}, stride_a{}, stride_b{};
};
BroadcastLoops broadcast_loops(const Shape& out, const Shape& a, const Shape& b);

namespace kernel {

/// y = a op b; y has the broadcast shape. less_equal gives 1 and 0.
inline constinit Kernel<void(Tensor& y, const Tensor& a, const Tensor& b, BinaryOp op)> binary{"binary"};
/// y = factor x + shift, same shape.
inline constinit Kernel<void(Tensor& y, const Tensor& x, double factor, double shift)> affine{"affine"};
/// y += x, same shape. Accumulates.
inline constinit Kernel<void(Tensor& y, const Tensor& x)> add_to{"add_to"};

}  // namespace kernel
}  // namespace vitral
