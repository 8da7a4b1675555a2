#include "tensor/cpu/matmul/few_rows.h"

#include "tensor/cpu/matmul/pack_weight.h"

#if defined(__x86_64__)
#include <algorithm>
#include <array>
#include <utility>

#include <immintrin.h>
#endif

namespace vitral::cpu_kernels {

#if defined(__x86_64__)
namespace {

// A tile of y: its sums, with two registers of the weight and one of x, fill the 32 registers.
constexpr std::int64_t tile_rows = 13, tile_columns = 32, line_numbers = 16;

struct Tile {
  float* y;
  const float *x, *weight, *bias;  // of its first row and column; bias may be null
  const float* next;               // what will be read later, half as many lines as `in`
  std::int64_t in, out, columns;   // columns: of this tile, at most 32
};

// The first so many of 16 numbers.
constexpr __mmask16 first(std::int64_t n) {
  return static_cast<__mmask16>((1U << std::clamp<std::int64_t>(n, 0, 16)) - 1);
}

template <int R>
__attribute__((target("avx512f"))) void multiply_tile(const Tile& t) {
  __m512 sums[R][2] = {};
  const float *x = t.x, *weight = t.weight, *next = t.next;
  const std::int64_t in = t.in;
  const auto step = [&](std::int64_t k) __attribute__((always_inline, target("avx512f"))) {
    const __m512 left = _mm512_loadu_ps(weight + k * pack_columns),
                 right = _mm512_loadu_ps(weight + k * pack_columns + 16);
#pragma GCC unroll 13
    for (int r = 0; r < R; ++r) {
      const __m512 number = _mm512_set1_ps(x[r * in + k]);
      sums[r][0] = _mm512_fmadd_ps(number, left, sums[r][0]);
      sums[r][1] = _mm512_fmadd_ps(number, right, sums[r][1]);
    }
  };
  std::int64_t k = 0;
  for (; k + 16 <= in; k += 16) {
#pragma GCC unroll 16
    for (std::int64_t i = 0; i < 16; ++i) {
      if (i % 2 == 0) {
        _mm_prefetch(next, _MM_HINT_T1);
        next += line_numbers;
      }
      step(k + i);
    }
  }
  for (; k < in; ++k) step(k);
#pragma GCC unroll 2
  for (std::int64_t half = 0; half < 2; ++half) {
    const __mmask16 mask = first(t.columns - 16 * half);
    const __m512 bias = t.bias ? _mm512_maskz_loadu_ps(mask, t.bias + 16 * half) : _mm512_setzero_ps();
#pragma GCC unroll 13
    for (int r = 0; r < R; ++r)
      _mm512_mask_storeu_ps(t.y + r * t.out + 16 * half, mask, _mm512_add_ps(sums[r][half], bias));
  }
}

template <int... R>
constexpr auto tiles_of(std::integer_sequence<int, R...>) {
  return std::array{multiply_tile<R + 1>...};
}
constexpr auto multiply_rows = tiles_of(std::make_integer_sequence<int, tile_rows>());  // [rows - 1]

}  // namespace

bool multiplies_few_rows() {
  static const bool found = __builtin_cpu_supports("avx512f") != 0;
  return found;
}

void multiply_few_rows(float* y, const float* x, const float* packed, const float* bias, std::int64_t rows,
                       std::int64_t in, std::int64_t out) {
  const std::int64_t padded = (in + 15) / 16 * 16, down = (rows + tile_rows - 1) / tile_rows,
                     across = (out + tile_columns - 1) / tile_columns;
  // Down first: the tiles of a strip share its part of the weight. Eight tiles of the two strips of a block
  // fetch the block behind it.
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < down * across; ++i) {
    const std::int64_t row = i % down * tile_rows, column = i / down * tile_columns,
                       take = std::min(tile_rows, rows - row);
    const float* block = packed + column / pack_columns * padded * pack_columns;
    const float* weight = block + column % pack_columns;
    const std::int64_t part = column % pack_columns / tile_columns * down + i % down;
    const float* next = part < 8 ? block + padded * pack_columns + part * in / 16 * 8 * line_numbers : weight;
    multiply_rows[static_cast<std::size_t>(take - 1)]({.y = y + row * out + column,
                                                       .x = x + row * in,
                                                       .weight = weight,
                                                       .bias = bias ? bias + column : nullptr,
                                                       .next = next,
                                                       .in = in,
                                                       .out = out,
                                                       .columns = std::min(tile_columns, out - column)});
  }
}
#else
bool multiplies_few_rows() { return false; }

void multiply_few_rows(float*, const float*, const float*, const float*, std::int64_t, std::int64_t,
                       std::int64_t) {}
#endif

}  // namespace vitral::cpu_kernels
