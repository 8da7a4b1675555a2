// Element types. Operations take float32, float64 and bfloat16; the others are for files, pixels and
// indices, int8 for weights that are quantised (tensor/ops/linear_int8.h).
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/error.h"

namespace vitral {

enum class DType : std::uint8_t { float32, float64, float16, bfloat16, uint8, int64, int8 };

const char* name(DType dtype);
std::size_t size_of(DType dtype);

template <class T>
inline constexpr DType dtype_of = [] {
  static_assert(!std::is_same_v<T, T>, "no DType for this C++ type");
  return DType::float32;
}();
template <>
inline constexpr DType dtype_of<float> = DType::float32;
template <>
inline constexpr DType dtype_of<double> = DType::float64;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::uint8;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::int64;
template <>
inline constexpr DType dtype_of<std::int8_t> = DType::int8;

/// Calls f with a value of the C++ type of a floating dtype; UsageError for another dtype.
///   dispatch_float("gemm", x.dtype(), [&]<class T>(T) { ... });
template <class F>
decltype(auto) dispatch_float(const char* operation, DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(float{});
    case DType::float64:
      return f(double{});
    default:
      throw_error<UsageError>("{}: dtype {} is not supported, use float32 or float64", operation,
                              name(dtype));
  }
}

}  // namespace vitral

#ifndef __CUDACC__
template <>
struct fmt::formatter<vitral::DType> : fmt::formatter<const char*> {
  auto format(vitral::DType dtype, format_context& context) const {
    return formatter<const char*>::format(vitral::name(dtype), context);
  }
};
#endif
