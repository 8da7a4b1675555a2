// Multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762) on packed queries, keys and values.
//   o_i = sum_j softmax_j(q_i . k_j / sqrt(D)) v_j     for each batch element and head
//
// qkv [B,N,3 H D]: all heads of q, then of k, then of v, as a linear layer with stacked weights gives them.
// out [B,N,H D].
#pragma once
#include <cstdlib>

#include "tensor/kernel.h"

namespace vitral {

/// A grid of tokens, row-major: token n is at (n / columns, n % columns).
struct TokenGrid {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t size() const { return rows * columns; }
  bool operator==(const TokenGrid&) const = default;
};

/// Which tokens a token sees: i sees j where row_j = row_i + dilation a and column_j = column_i + dilation b
/// with |a|, |b| <= window / 2, on the grid. At its border the neighbourhood is smaller, not shifted (unlike
/// NATTEN, arXiv 2204.07143); what would lie beside the grid is not seen. Behind the grid's tokens may come
/// registers (arXiv 2309.16588), which see all and are seen by all.
struct Neighbourhood {
  TokenGrid grid;
  std::int64_t window = 3;  // odd
  std::int64_t dilation = 1;
  std::int64_t registers = 0;

  std::int64_t tokens() const { return grid.size() + registers; }  // N
  bool sees(std::int64_t i, std::int64_t j) const {
    if (i >= grid.size() || j >= grid.size()) return true;
    const auto near = [&](std::int64_t distance) {
      return distance % dilation == 0 && std::abs(distance / dilation) <= window / 2;
    };
    return near(i / grid.columns - j / grid.columns) && near(i % grid.columns - j % grid.columns);
  }
  bool operator==(const Neighbourhood&) const = default;
};

namespace kernel {

/// Every j, or (causal) j <= i alone. lse [B,H,N], the logarithm of the softmax's denominator (of exp(q . k /
/// sqrt(D)), nothing subtracted), float32 (float64 for float64), is written where it is defined: backward
/// wants it on a GPU. The CPU leaves it alone.
inline constinit Kernel<void(Tensor& out, Tensor& lse, const Tensor& qkv, std::int64_t heads, bool causal)>
    attention{"attention"};
/// out and lse as forward gave them; the CPU computes the weights again from qkv alone.
inline constinit Kernel<void(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor& out,
                             const Tensor& lse, std::int64_t heads, bool causal)>
    attention_backward{"attention_backward"};

/// Neighbourhood attention: only the j that i sees. Backward recomputes the weights from qkv; nothing else is
/// saved.
inline constinit Kernel<void(Tensor& out, const Tensor& qkv, std::int64_t heads, Neighbourhood n)>
    neighbourhood_attention{"neighbourhood_attention"};
inline constinit Kernel<void(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, std::int64_t heads,
                             Neighbourhood n)>
    neighbourhood_attention_backward{"neighbourhood_attention_backward"};

}  // namespace kernel
}  // namespace vitral
