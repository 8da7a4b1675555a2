// Softmax of rows of scores in scratch memory, and its gradient. C is float or double.
#pragma once
#include <cstdint>

namespace vitral::cpu_kernels {

/// Each of `rows` rows of n numbers, in place. causal: of row r the first r + 1 numbers; those behind them,
/// which may be anything, become 0.
template <class C>
void softmax_rows(C* p, std::int64_t rows, std::int64_t n, bool causal = false);
/// ds = p (dp - sum p dp), in place of dp.
template <class C>
void softmax_rows_backward(C* dp, const C* p, std::int64_t rows, std::int64_t n, bool causal = false);

}  // namespace vitral::cpu_kernels
