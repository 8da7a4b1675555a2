// Element type conversion and filling; CPU only (files are read and written there).
#pragma once
#include "tensor/kernel.h"

namespace vitral::kernel {

/// y = x, element by element, between any two dtypes (round to nearest even, float64 to half types by way of
/// float32; to integers: truncation).
inline constinit Kernel<void(Tensor& y, const Tensor& x)> convert{"convert"};
/// Every element of y = the one element of x; same dtype.
inline constinit Kernel<void(Tensor& y, const Tensor& x)> repeat{"repeat"};

}  // namespace vitral::kernel
