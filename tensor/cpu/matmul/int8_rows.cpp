#include "tensor/cpu/matmul/int8_rows.h"

#include <algorithm>
#include <limits>

#include "base/exact_float.h"
#include "tensor/cpu/scratch.h"
#include "tensor/ops/linear_int8.h"

namespace vitral::cpu_kernels {
namespace {

constexpr std::int32_t infinity_bits = 0x7f800000;

// The bits of the largest |x|: as integers they are in the order of the numbers, infinity and NaN last.
template <class T>
VITRAL_CLONES std::int32_t largest_bits(const T* x, std::int64_t n) {
  std::int32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(load(x[i])) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

// Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves its two's complement in the lowest bits.
template <class T>
VITRAL_CLONES void round_row(std::uint8_t* __restrict q, const T* __restrict x, float inverse, std::int64_t n,
                             std::uint8_t offset) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i)
    q[i] =
        static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(load(x[i]) * inverse + 12582912.0F) + offset);
}

VITRAL_CLONES void widen(std::int16_t* __restrict to, const std::int8_t* __restrict from, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = from[i];  // NOLINT(bugprone-signed-char-misuse): numbers
}

// Products of 16 bits, which processors add in pairs to 32. Four rows and two columns at a time: each number
// that is read serves several.
template <int rows, int columns>
VITRAL_INLINE void some_sums(std::int32_t* __restrict sums, std::int64_t step,
                             const std::int16_t* __restrict q, const std::int16_t* __restrict weight,
                             std::int64_t n) {
  std::int32_t s[rows][columns] = {};
  for (std::int64_t i = 0; i < n; ++i)
    for (int r = 0; r < rows; ++r)
      for (int o = 0; o < columns; ++o) s[r][o] += std::int32_t{q[r * n + i]} * weight[o * n + i];
  for (int r = 0; r < rows; ++r)
    for (int o = 0; o < columns; ++o) sums[r * step + o] = s[r][o];
}

template <int columns>
VITRAL_CLONES void column_sums(std::int32_t* __restrict sums, std::int64_t step,
                               const std::int16_t* __restrict q, const std::int16_t* __restrict weight,
                               std::int64_t rows, std::int64_t n) {
  std::int64_t r = 0;
  for (; r + 4 <= rows; r += 4) some_sums<4, columns>(sums + r * step, step, q + r * n, weight, n);
  for (; r < rows; ++r) some_sums<1, columns>(sums + r * step, step, q + r * n, weight, n);
}

template <class T>
VITRAL_CLONES void scale_row(T* __restrict y, const std::int32_t* __restrict sums,
                             const std::int32_t* __restrict excess, float s, const float* __restrict scale,
                             const float* __restrict bias, std::int64_t n) {
#pragma omp simd
  for (std::int64_t o = 0; o < n; ++o) {
    const auto sum = static_cast<std::int32_t>(static_cast<std::uint32_t>(sums[o]) -
                                               static_cast<std::uint32_t>(excess[o]));
    store(y[o], static_cast<float>(sum) * s * scale[o] + bias[o]);
  }
}

VITRAL_CLONES std::int32_t sum_row(const std::int8_t* weight, std::int64_t n) {
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += weight[i];
  return sum;
}

}  // namespace

template <class T>
void quantize_rows(std::uint8_t* q, float* s, const T* x, std::int64_t rows, std::int64_t n, Offset offset) {
  for (std::int64_t r = 0; r < rows; ++r, x += n, q += n) {
    const std::int32_t bits = largest_bits(x, n);
    if (bits >= infinity_bits) {
      std::fill(q, q + n, static_cast<std::uint8_t>(offset));
      s[r] = std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    const float largest = std::max(std::bit_cast<float>(bits), int8_smallest_token);
    round_row(q, x, 127 / largest, n, static_cast<std::uint8_t>(offset));
    s[r] = largest / 127;
  }
}

void multiply_bytes(std::int32_t* sums, const std::int8_t* q, const std::int8_t* weight, std::int64_t rows,
                    std::int64_t n, std::int64_t columns) {
  auto* tokens = scratch<std::int16_t>(static_cast<std::size_t>((rows + 2) * n));
  std::int16_t* two = tokens + rows * n;  // rows of the weight
  widen(tokens, q, rows * n);
  for (std::int64_t o = 0; o < columns; o += 2) {
    const bool both = o + 1 < columns;
    widen(two, weight + o * n, both ? 2 * n : n);
    (both ? column_sums<2> : column_sums<1>)(sums + o, columns, tokens, two, rows, n);
  }
}

template <class T>
void dequantize_rows(T* y, std::int64_t step, const std::int32_t* sums, const std::int32_t* excess,
                     const float* s, const float* scale, const float* bias, std::int64_t rows,
                     std::int64_t columns) {
  for (std::int64_t r = 0; r < rows; ++r)
    scale_row(y + r * step, sums + r * columns, excess, s[r], scale, bias, columns);
}

// Modulo 2^32, as the sums that it is taken from.
void excess_of_half(std::int32_t* excess, const std::int8_t* weight, std::int64_t rows, std::int64_t n) {
  for (std::int64_t o = 0; o < rows; ++o)
    excess[o] = static_cast<std::int32_t>(128U * static_cast<std::uint32_t>(sum_row(weight + o * n, n)));
}

#define INSTANTIATE(T)                                                                                    \
  template void quantize_rows(std::uint8_t*, float*, const T*, std::int64_t, std::int64_t, Offset);       \
  template void dequantize_rows(T*, std::int64_t, const std::int32_t*, const std::int32_t*, const float*, \
                                const float*, const float*, std::int64_t, std::int64_t);
INSTANTIATE(float)
INSTANTIATE(BFloat16)
#undef INSTANTIATE

}  // namespace vitral::cpu_kernels
