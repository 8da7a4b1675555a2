// Stands in for CUDA's header of bfloat16: the top half of a float. Arithmetic is done in float and rounded.
#pragma once
#include "cuda_runtime.h"

struct __nv_bfloat16_raw {
  unsigned short x;
};

namespace simulator {

/// To nearest, ties to even; every NaN becomes CUDA's.
constexpr unsigned short round_to_bfloat16(float value) {
  const unsigned bits = std::bit_cast<unsigned>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return 0x7FFF;
  return static_cast<unsigned short>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

/// The float between x and 0 that keeps the last bit set where x is not a float: rounding it again, to a
/// shorter type, is as rounding x itself.
inline float round_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  const double error = x - static_cast<double>(nearest);
  if (!(error != 0) || std::isinf(nearest)) return nearest;
  const float low = (fabs(static_cast<double>(nearest)) > fabs(x)) ? nextafterf(nearest, 0.0F) : nearest;
  return std::bit_cast<float>(std::bit_cast<unsigned>(low) | 1U);
}

}  // namespace simulator

struct alignas(2) __nv_bfloat16 {
  __nv_bfloat16() = default;
  constexpr __nv_bfloat16(__nv_bfloat16_raw raw) : bits_(raw.x) {}
  constexpr __nv_bfloat16(float x) : bits_(simulator::round_to_bfloat16(x)) {}
  __nv_bfloat16(double x) : bits_(simulator::round_to_bfloat16(simulator::round_to_odd(x))) {}
  template <class T>
  requires(std::is_integral_v<T>) __nv_bfloat16(T x) : __nv_bfloat16(static_cast<double>(x)) {}
  constexpr operator float() const { return std::bit_cast<float>(static_cast<unsigned>(bits_) << 16); }
  constexpr operator __nv_bfloat16_raw() const { return {bits_}; }

 private:
  unsigned short bits_;
};
using nv_bfloat16 = __nv_bfloat16;

struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
  __nv_bfloat162() = default;
  constexpr __nv_bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) : x(low), y(high) {}
};
using nv_bfloat162 = __nv_bfloat162;

// --- conversions ---
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
inline __nv_bfloat16 __double2bfloat16(double x) { return x; }
inline __nv_bfloat16 __int2bfloat16_rn(int x) { return x; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return __nv_bfloat16_raw(x).x; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) { return __nv_bfloat16_raw{x}; }
inline __nv_bfloat162 __float2bfloat162_rn(float x) { return {x, x}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) { return {v.x, v.y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x) { return {x, x}; }
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) { return v.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) { return v.y; }
inline float __low2float(__nv_bfloat162 v) { return v.x; }
inline float __high2float(__nv_bfloat162 v) { return v.y; }

// --- arithmetic and comparisons ---
#define SIMULATOR_OPERATOR(op, name)                                                                         \
  inline __nv_bfloat16 operator op(__nv_bfloat16 a, __nv_bfloat16 b) {                                       \
    return __bfloat162float(a) op __bfloat162float(b);                                                       \
  }                                                                                                          \
  inline __nv_bfloat162 operator op(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x op b.x, a.y op b.y}; } \
  inline __nv_bfloat16& operator op##=(__nv_bfloat16& a, __nv_bfloat16 b) { return a = a op b; }             \
  inline __nv_bfloat162& operator op##=(__nv_bfloat162& a, __nv_bfloat162 b) { return a = a op b; }          \
  inline __nv_bfloat16 name(__nv_bfloat16 a, __nv_bfloat16 b) { return a op b; }                             \
  inline __nv_bfloat162 name##2(__nv_bfloat162 a, __nv_bfloat162 b) { return a op b; }
SIMULATOR_OPERATOR(+, __hadd)
SIMULATOR_OPERATOR(-, __hsub)
SIMULATOR_OPERATOR(*, __hmul)
SIMULATOR_OPERATOR(/, __hdiv)
#undef SIMULATOR_OPERATOR
inline __nv_bfloat16 operator-(__nv_bfloat16 x) { return -__bfloat162float(x); }
inline __nv_bfloat162 operator-(__nv_bfloat162 v) { return {-v.x, -v.y}; }

#define SIMULATOR_COMPARISON(op, name)                        \
  inline bool operator op(__nv_bfloat16 a, __nv_bfloat16 b) { \
    return __bfloat162float(a) op __bfloat162float(b);        \
  }                                                           \
  inline bool name(__nv_bfloat16 a, __nv_bfloat16 b) { return a op b; }
SIMULATOR_COMPARISON(==, __heq)
SIMULATOR_COMPARISON(!=, __hne)
SIMULATOR_COMPARISON(<, __hlt)
SIMULATOR_COMPARISON(>, __hgt)
SIMULATOR_COMPARISON(<=, __hle)
SIMULATOR_COMPARISON(>=, __hge)
#undef SIMULATOR_COMPARISON

inline bool __hisnan(__nv_bfloat16 x) { return x != x; }
inline __nv_bfloat16 __hneg(__nv_bfloat16 x) { return -x; }
inline __nv_bfloat16 __habs(__nv_bfloat16 x) { return fabsf(x); }
inline __nv_bfloat16 __hmax(__nv_bfloat16 a, __nv_bfloat16 b) { return fmaxf(a, b); }
inline __nv_bfloat16 __hmin(__nv_bfloat16 a, __nv_bfloat16 b) { return fminf(a, b); }
inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) { return fmaf(a, b, c); }
inline __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
