// A tensor viewed around one axis: what is before it, the axis itself, what is behind it.
#pragma once
#include "tensor/shape.h"

namespace vitral {

/// [outer, n, inner].
struct AxisView {
  std::int64_t outer, n, inner;
};
inline AxisView axis_view(const Shape& shape, int axis) {
  return {shape.product(0, axis), shape[axis], shape.product(axis + 1, shape.rank())};
}

/// Elements [begin, begin + size) along the axis: [outer, size, inner].
struct AxisSlice {
  AxisView whole;
  std::int64_t begin, size;
};

}  // namespace vitral
