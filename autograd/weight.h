// Weight: a parameter as products take it. A Variable is one by itself; nn::Parameter adds what it keeps
// beside its value, so that no product converts or orders the same numbers again.
#pragma once
#include <utility>

#include "autograd/variable.h"

namespace vitral {

struct Weight {
  Weight() = default;
  // Not explicit: operations take variables and parameters alike.
  Weight(Variable of, Tensor copy_of_it = {}, Tensor packed_of_it = {}, Tensor scale_of_it = {})
      : variable(std::move(of)),
        copy(std::move(copy_of_it)),
        packed(std::move(packed_of_it)),
        scale(std::move(scale_of_it)) {}

  bool defined() const { return variable.defined(); }
  const Shape& shape() const { return variable.shape(); }
  std::int64_t dim(int axis) const { return variable.dim(axis); }
  int rank() const { return variable.rank(); }
  /// Whether it is int8 with scales (tensor/ops/linear_int8.h).
  bool quantized() const { return scale.defined(); }
  DType dtype() const { return variable.dtype(); }
  /// The dtype that products read.
  DType product_dtype() const { return copy.defined() ? copy.dtype() : dtype(); }

  /// The value in another dtype: the copy where it is of that dtype, else converted now.
  Tensor as(DType wanted) const {
    return copy.defined() && copy.dtype() == wanted ? copy : variable.value().cast(wanted);
  }
  /// The packing where it serves products in this dtype, else undefined.
  Tensor packed_for(DType wanted) const { return product_dtype() == wanted ? packed : Tensor(); }

  Variable variable;
  Tensor copy;    // the value in another dtype, or undefined
  Tensor packed;  // what kernel::pack_weight made of the copy or, without one, of the value (of int8
                  // kernel::pack_int8); or undefined
  Tensor scale;   // float32 [O], where the value is int8; else undefined
};

}  // namespace vitral
