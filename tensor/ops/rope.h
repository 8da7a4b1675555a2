// Rotary position embedding in two dimensions (Su et al. 2021, arXiv 2104.09864; axial, as Heo et al. 2024,
// arXiv 2403.13298) on packed queries, keys and values: a score then depends on the distance of two tokens.
// With D the size of a head and n = D div 4 frequencies, the pair t of elements (2t, 2t+1) of each head of q
// and k of the token at (row, column) is turned by
//
//   row 100^(-t/n) for t < n,  column 100^(-(t-n)/n) for n <= t < 2n
//   (a, b) -> (a cos - b sin, a sin + b cos)
//
// The other elements, v, and tokens behind those of the grid stay as they are.
//
// qkv, out [B,N,3 H D] of one dtype, as in tensor/ops/attention.h.
#pragma once
#include <cmath>

#include "tensor/kernel.h"
#include "tensor/ops/attention.h"

namespace vitral {

constexpr std::int64_t rope_frequencies(std::int64_t head_size) { return head_size / 4; }

/// Radians a step of the grid, of frequency t of n.
inline double rope_speed(std::int64_t t, std::int64_t n) {
  return std::pow(100.0, -static_cast<double>(t) / static_cast<double>(n));
}
/// By how much pair t of a token of the grid is turned.
inline double rope_angle(const TokenGrid& grid, std::int64_t token, std::int64_t t, std::int64_t n) {
  const std::int64_t row = token / grid.columns, column = token % grid.columns;
  return static_cast<double>(t < n ? row : column) * rope_speed(t % n, n);
}

namespace kernel {

/// back: turns the other way, which is the gradient.
inline constinit Kernel<void(Tensor& out, const Tensor& qkv, std::int64_t heads, TokenGrid grid, bool back)>
    rope{"rope"};

}  // namespace kernel
}  // namespace vitral
