// Element type conversion and filling.
#pragma once
#include "tensor/kernel.h"

namespace vitral {

/// Calls f with a value of the C++ type of any dtype. A backend names its own types of 16 bits.
template <class Float16, class BFloat16, class F>
void dispatch_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(float{});
    case DType::float64:
      return f(double{});
    case DType::float16:
      return f(Float16{});
    case DType::bfloat16:
      return f(BFloat16{});
    case DType::uint8:
      return f(std::uint8_t{});
    case DType::int64:
      return f(std::int64_t{});
    case DType::int8:
      return f(std::int8_t{});
  }
}

}  // namespace vitral

namespace vitral::kernel {

/// y = x, element by element, between any two dtypes (round to nearest even, float64 to half types by way of
/// float32; to integers: truncation).
inline constinit Kernel<void(Tensor& y, const Tensor& x)> convert{"convert"};
/// Every element of y = value, converted as convert does.
inline constinit Kernel<void(Tensor& y, double value)> fill{"fill"};

}  // namespace vitral::kernel
