// Softmax of rows of scores in scratch memory, and its gradient. C is float or double.
#pragma once
#include <cstdint>

namespace vitral::cpu_kernels {

/// Each of `rows` rows of n numbers, in place.
template <class C>
void softmax_rows(C* p, std::int64_t rows, std::int64_t n);
/// ds = p (dp - sum p dp), in place of dp.
template <class C>
void softmax_rows_backward(C* dp, const C* p, std::int64_t rows, std::int64_t n);

}  // namespace vitral::cpu_kernels
