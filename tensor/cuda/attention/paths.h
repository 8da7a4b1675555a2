// Ways to compute attention that the full and the neighbourhood one share. Full attention is a grid of one
// row whose tokens all see each other, or (causal) those before them.
#pragma once
#include <algorithm>
#include <cmath>

#include "tensor/cuda/launch.h"
#include "tensor/ops/attention.h"

namespace vitral::cuda {

struct AttentionShape {
  std::int64_t batch;
  int tokens, heads, size;        // N, H, D
  int grid_rows, grid_columns;    // token n is at (n / grid_columns, n % grid_columns)
  int reach_rows, reach_columns;  // how many neighbours a token sees on each side, less than the grid's size
  int dilation;                   // places from one to the next
  int registers;                  // tokens behind those of the grid, which see all and are seen by all
  bool causal = false;            // of a grid of one row: a token sees none of the later ones
  constexpr int width() const { return heads * size; }
  constexpr int grid_tokens() const { return tokens - registers; }
};

inline AttentionShape neighbourhood(const Tensor& qkv, std::int64_t heads, Neighbourhood n) {
  const TokenGrid grid = n.grid;
  const std::int64_t dilation = std::min(n.dilation, std::max(grid.rows, grid.columns));
  const auto reach = [&](std::int64_t length) {
    return static_cast<int>(std::min(n.window / 2, (length - 1) / dilation));
  };
  return {.batch = qkv.dim(0),
          .tokens = static_cast<int>(qkv.dim(1)),
          .heads = static_cast<int>(heads),
          .size = static_cast<int>(qkv.dim(2) / 3 / heads),
          .grid_rows = static_cast<int>(grid.rows),
          .grid_columns = static_cast<int>(grid.columns),
          .reach_rows = reach(grid.rows),
          .reach_columns = reach(grid.columns),
          .dilation = static_cast<int>(dilation),
          .registers = static_cast<int>(n.registers)};
}
inline AttentionShape everywhere(const Tensor& qkv, std::int64_t heads, bool causal) {
  AttentionShape s = neighbourhood(qkv, heads, {.grid = {1, qkv.dim(1)}, .window = 2 * qkv.dim(1)});
  s.causal = causal;
  return s;
}

/// What scores are multiplied with.
template <class A>
A scale_of(const AttentionShape& s) {
  return 1 / std::sqrt(static_cast<A>(s.size));
}

/// bfloat16 on tensor cores, where q, k and v of a head fit in shared memory (tensor_cores.cu).
/// False, and nothing is queued, where they do not, or for another dtype or a head size above 128. lse may be
/// undefined.
bool tensor_core_attention(const char* operation, Tensor& out, const Tensor& lse, const Tensor& qkv,
                           const AttentionShape& shape);
bool tensor_core_attention_backward(const char* operation, Tensor& dqkv, const Tensor& dout,
                                    const Tensor& qkv, const AttentionShape& shape);

/// Any size and dtype, straight from global memory (general.cu).
void general_attention(const char* operation, Tensor& out, const Tensor& lse, const Tensor& qkv,
                       const AttentionShape& shape);
void general_attention_backward(const char* operation, Tensor& dqkv, const Tensor& dout, const Tensor& qkv,
                                const AttentionShape& shape);

}  // namespace vitral::cuda
