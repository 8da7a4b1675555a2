#include "tensor/cpu/int8_rows.h"

#include <algorithm>
#include <limits>

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

// Four rows and two columns at a time: each byte that is read serves several products. In 16 bits, whose
// products processors add in pairs to 32.
template <int many_rows, int many_columns>
VITRAL_INLINE void some_sums(std::int32_t* __restrict sums, std::int64_t step,
                             const std::int8_t* __restrict q, const std::int8_t* __restrict weight,
                             std::int64_t n) {
  std::int32_t s[many_rows][many_columns] = {};
  for (std::int64_t i = 0; i < n; ++i)
    for (int r = 0; r < many_rows; ++r)
      for (int o = 0; o < many_columns; ++o)
        s[r][o] += static_cast<std::int16_t>(q[r * n + i]) * static_cast<std::int16_t>(weight[o * n + i]);
  for (int r = 0; r < many_rows; ++r)
    for (int o = 0; o < many_columns; ++o) sums[r * step + o] = s[r][o];
}

VITRAL_CLONES void all_sums(std::int32_t* __restrict sums, const std::int8_t* __restrict q,
                            const std::int8_t* __restrict weight, std::int64_t rows, std::int64_t n,
                            std::int64_t columns) {
  std::int64_t o = 0;
  for (; o + 2 <= columns; o += 2) {
    std::int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
      some_sums<4, 2>(sums + r * columns + o, columns, q + r * n, weight + o * n, n);
    for (; r < rows; ++r) some_sums<1, 2>(sums + r * columns + o, columns, q + r * n, weight + o * n, n);
  }
  for (; o < columns; ++o)
    for (std::int64_t r = 0; r < rows; ++r)
      some_sums<1, 1>(sums + r * columns + o, columns, q + r * n, weight + o * n, n);
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
  all_sums(sums, q, weight, rows, n, columns);
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
