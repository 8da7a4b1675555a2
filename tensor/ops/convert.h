// Element type conversion and filling.
#pragma once
#include "tensor/kernel.h"

namespace vitral::kernel {

/// y = x, element by element, between any two dtypes (round to nearest even, float64 to half types by way of
/// float32; to integers: truncation).
inline constinit Kernel<void(Tensor& y, const Tensor& x)> convert{"convert"};
/// Every element of y = value, converted as convert does.
inline constinit Kernel<void(Tensor& y, double value)> fill{"fill"};

}  // namespace vitral::kernel
