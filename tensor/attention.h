// Multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762) on packed queries, keys and values.
//   o_i = sum_j softmax_j(q_i . k_j / sqrt(D)) v_j     for each batch element and head
//
// qkv [B,N,3 H D]: all heads of q, then of k, then of v, as a linear layer with stacked weights gives them.
// out [B,N,H D]. Backward recomputes the weights from qkv; nothing else is saved.
#pragma once
#include "tensor/kernel.h"

namespace vitral {

/// A grid of tokens, row-major: token n is at (n / columns, n % columns).
struct TokenGrid {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t size() const { return rows * columns; }
  bool operator==(const TokenGrid&) const = default;
};

namespace kernel {

/// Full attention: every j.
inline constinit Kernel<void(Tensor& out, const Tensor& qkv, std::int64_t heads)> attention{"attention"};
inline constinit Kernel<void(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, std::int64_t heads)>
    attention_backward{"attention_backward"};

/// Neighbourhood attention: only j with |row_i - row_j| <= window / 2 and |col_i - col_j| <= window / 2,
/// where there is one; at the border the neighbourhood is smaller, not shifted (unlike NATTEN, arXiv
/// 2204.07143).
inline constinit Kernel<void(Tensor& out, const Tensor& qkv, std::int64_t heads, TokenGrid grid,
                             std::int64_t window)>
    neighbourhood_attention{"neighbourhood_attention"};
inline constinit Kernel<void(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, std::int64_t heads,
                             TokenGrid grid, std::int64_t window)>
    neighbourhood_attention_backward{"neighbourhood_attention_backward"};

}  // namespace kernel
}  // namespace vitral
