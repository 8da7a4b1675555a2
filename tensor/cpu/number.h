// What the elements of tensors are to the CPU's loops: bfloat16 is 16 bits of memory that are read and
// written as float32.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/clones.h"
#include "tensor/ops/fast_math.h"
#include "tensor/tensor.h"

namespace vitral::cpu_kernels {

struct BFloat16 {
  std::uint16_t bits;
};

VITRAL_INLINE float load(float x) { return x; }
VITRAL_INLINE double load(double x) { return x; }
VITRAL_INLINE float load(BFloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

VITRAL_INLINE void store(float& to, float x) { to = x; }
VITRAL_INLINE void store(double& to, double x) { to = x; }
/// To nearest, ties to even; a NaN stays one.
VITRAL_INLINE void store(BFloat16& to, float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (u + 0x7fffU + ((u >> 16) & 1U)) >> 16;
  to.bits = static_cast<std::uint16_t>(x != x ? (u >> 16) | 0x40U : rounded);
}

/// What sums of T are made in.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// exp of a float32, to 2 units in the last place; 0 below -87.3.
VITRAL_INLINE float exponential(float x) {
  const Power e = exponential_parts(x < -87.3F ? -87.3F : x > 89.0F ? 89.0F : x);
  // In two steps: 2^128 is no float32, but the result may be one.
  const std::int32_t half = e.n >> 1;
  const float y =
      e.p * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((e.n - half + 127) << 23);
  return x < -87.3F ? 0.0F : y;
}
VITRAL_INLINE double exponential(double x) { return std::exp(x); }

/// The elements, uint16 under the name of BFloat16.
template <class T>
T* elements(const Tensor& t) {
  if constexpr (std::is_same_v<T, BFloat16>)
    return static_cast<BFloat16*>(t.raw());
  else
    return t.data<T>();
}

/// As dispatch_float, with BFloat16 for bfloat16.
template <class F>
decltype(auto) dispatch_number(const char* operation, DType dtype, F&& f) {
  if (dtype == DType::bfloat16) return f(BFloat16{});
  return dispatch_float(operation, dtype, f);
}

/// Calls f(T{}, P{}) for an x of dtype T whose parameters are of dtype P: the same, or float32 beside
/// bfloat16.
template <class F>
void dispatch_with_weights(const char* operation, const Tensor& x, const Tensor& weight, F&& f) {
  dispatch_number(operation, x.dtype(), [&]<class T>(T) {
    if (weight.dtype() == x.dtype()) return f(T{}, T{});
    if constexpr (std::is_same_v<T, BFloat16>)
      if (weight.dtype() == DType::float32) return f(T{}, float{});
    throw_error<UsageError>("{}: weight {} does not go with x {}, use its dtype, or float32 beside bfloat16",
                            operation, name(weight.dtype()), name(x.dtype()));
  });
}

}  // namespace vitral::cpu_kernels
