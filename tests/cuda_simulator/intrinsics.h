// What CUDA code may call on the device: coordinates, barriers, warps, integer and float intrinsics.
#pragma once
#include <bit>
#include <cstdint>
#include <limits>

#include <math.h>  // not <cmath>: on the device, exp(float) and its like are global

#include "simulator.h"

// --- where a thread is ---
// One thread runs at a time; whoever switches sets them.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = simulator::lanes;

#define SIMULATOR_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

// --- barriers ---
inline void __syncthreads(SIMULATOR_HERE) { simulator::barrier({file, line}); }
inline int __syncthreads_count(int condition, SIMULATOR_HERE) {
  return simulator::counting_barrier(condition != 0, {file, line});
}
inline int __syncthreads_or(int condition, SIMULATOR_HERE) {
  return simulator::counting_barrier(condition != 0, {file, line}) > 0;
}
inline int __syncthreads_and(int condition, SIMULATOR_HERE) {
  return simulator::counting_barrier(condition == 0, {file, line}) == 0;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// --- warps ---
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU, SIMULATOR_HERE) {
  simulator::ballot(mask, true, "__syncwarp", {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int condition, SIMULATOR_HERE) {
  return simulator::ballot(mask, condition != 0, "__ballot_sync", {file, line});
}
inline int __any_sync(unsigned mask, int condition, SIMULATOR_HERE) {
  return simulator::ballot(mask, condition != 0, "__any_sync", {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int condition, SIMULATOR_HERE) {
  return simulator::ballot(mask, condition != 0, "__all_sync", {file, line}) == simulator::present(mask);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, SIMULATOR_HERE) {
  const unsigned last = static_cast<unsigned>(width) - 1;
  const unsigned from = (simulator::lane() & ~last) | (static_cast<unsigned>(source) & last);
  return simulator::exchange(mask, value, from, "__shfl_sync", {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SIMULATOR_HERE) {
  const unsigned lane = simulator::lane(), last = static_cast<unsigned>(width) - 1;
  const unsigned from = (lane & last) >= delta ? lane - delta : lane;
  return simulator::exchange(mask, value, from, "__shfl_up_sync", {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SIMULATOR_HERE) {
  const unsigned lane = simulator::lane(), last = static_cast<unsigned>(width) - 1;
  const unsigned from = (lane & last) + delta <= last ? lane + delta : lane;
  return simulator::exchange(mask, value, from, "__shfl_down_sync", {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize, SIMULATOR_HERE) {
  const unsigned lane = simulator::lane(), last = static_cast<unsigned>(width) - 1;
  const unsigned other = lane ^ static_cast<unsigned>(lane_mask);
  return simulator::exchange(mask, value, other <= (lane | last) ? other : lane, "__shfl_xor_sync",
                             {file, line});
}
#undef SIMULATOR_HERE

// --- memory ---
template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
T __ldcs(const T* from) {
  return *from;
}
template <class T>
T __ldcg(const T* from) {
  return *from;
}
template <class T>
void __stcs(T* to, T value) {
  *to = value;
}
template <class T>
void __stcg(T* to, T value) {
  *to = value;
}

// --- atomics on integers; one thread runs at a time ---
#define SIMULATOR_ATOMICS(T)                                                                     \
  inline T atomicExch(T* at, T value) { return std::exchange(*at, value); }                      \
  inline T atomicAdd(T* at, T value) { return std::exchange(*at, static_cast<T>(*at + value)); } \
  inline T atomicMax(T* at, T value) { return std::exchange(*at, *at > value ? *at : value); }   \
  inline T atomicMin(T* at, T value) { return std::exchange(*at, *at < value ? *at : value); }   \
  inline T atomicAnd(T* at, T value) { return std::exchange(*at, *at & value); }                 \
  inline T atomicOr(T* at, T value) { return std::exchange(*at, *at | value); }                  \
  inline T atomicCAS(T* at, T expected, T value) { return std::exchange(*at, *at == expected ? value : *at); }
SIMULATOR_ATOMICS(int)
SIMULATOR_ATOMICS(unsigned)
SIMULATOR_ATOMICS(unsigned long long)
#undef SIMULATOR_ATOMICS
inline unsigned atomicInc(unsigned* at, unsigned limit) {
  return std::exchange(*at, *at >= limit ? 0 : *at + 1);
}

// --- min and max, with the overloads that CUDA has ---
#define SIMULATOR_MIN_MAX(R, A, B)                                                        \
  constexpr R min(A a, B b) {                                                             \
    return static_cast<R>(a) < static_cast<R>(b) ? static_cast<R>(a) : static_cast<R>(b); \
  }                                                                                       \
  constexpr R max(A a, B b) {                                                             \
    return static_cast<R>(a) > static_cast<R>(b) ? static_cast<R>(a) : static_cast<R>(b); \
  }
SIMULATOR_MIN_MAX(int, int, int)
SIMULATOR_MIN_MAX(unsigned, unsigned, unsigned)
SIMULATOR_MIN_MAX(unsigned, int, unsigned)
SIMULATOR_MIN_MAX(unsigned, unsigned, int)
SIMULATOR_MIN_MAX(long, long, long)
SIMULATOR_MIN_MAX(unsigned long, unsigned long, unsigned long)
SIMULATOR_MIN_MAX(unsigned long, long, unsigned long)
SIMULATOR_MIN_MAX(unsigned long, unsigned long, long)
SIMULATOR_MIN_MAX(long long, long long, long long)
SIMULATOR_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
SIMULATOR_MIN_MAX(unsigned long long, long long, unsigned long long)
SIMULATOR_MIN_MAX(unsigned long long, unsigned long long, long long)
#undef SIMULATOR_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(static_cast<double>(a), b); }
inline double max(float a, double b) { return fmax(static_cast<double>(a), b); }
inline double min(double a, float b) { return fmin(a, static_cast<double>(b)); }
inline double max(double a, float b) { return fmax(a, static_cast<double>(b)); }

// --- floats: the approximations of the hardware are exact here ---
inline float rsqrtf(float x) { return 1.0F / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float exp10f(float x) { return powf(10.0F, x); }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0F / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return ::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __drcp_rn(double x) { return 1.0 / x; }
inline double __dsqrt_rn(double x) { return ::sqrt(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0F) : 0.0F; }

// --- bits and conversions ---
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline int __float2int_rn(float x) { return static_cast<int>(nearbyintf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(a) * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>((static_cast<Wide>(a) * b) >> 64);
}
