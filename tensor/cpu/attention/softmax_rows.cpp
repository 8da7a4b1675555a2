#include "tensor/cpu/attention/softmax_rows.h"

#include "tensor/cpu/number.h"

namespace vitral::cpu_kernels {
namespace {

template <class C>
VITRAL_CLONES void forward(C* p, std::int64_t rows, std::int64_t width, bool causal) {
  for (std::int64_t r = 0; r < rows; ++r, p += width) {
    const std::int64_t n = causal ? r + 1 : width;
    C maximum = p[0], sum = 0;
#pragma omp simd reduction(max : maximum)
    for (std::int64_t i = 0; i < n; ++i) maximum = maximum < p[i] ? p[i] : maximum;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < n; ++i) sum += p[i] = exponential(p[i] - maximum);
    const C share = C(1) / sum;
    for (std::int64_t i = 0; i < n; ++i) p[i] *= share;
    for (std::int64_t i = n; i < width; ++i) p[i] = 0;
  }
}

template <class C>
VITRAL_CLONES void backward(C* dp, const C* p, std::int64_t rows, std::int64_t width, bool causal) {
  for (std::int64_t r = 0; r < rows; ++r, p += width, dp += width) {
    const std::int64_t n = causal ? r + 1 : width;
    C mean = 0;
#pragma omp simd reduction(+ : mean)
    for (std::int64_t i = 0; i < n; ++i) mean += p[i] * dp[i];
    for (std::int64_t i = 0; i < n; ++i) dp[i] = p[i] * (dp[i] - mean);
    for (std::int64_t i = n; i < width; ++i) dp[i] = 0;
  }
}

}  // namespace

template <class C>
void softmax_rows(C* p, std::int64_t rows, std::int64_t n, bool causal) {
  forward(p, rows, n, causal);
}
template <class C>
void softmax_rows_backward(C* dp, const C* p, std::int64_t rows, std::int64_t n, bool causal) {
  backward(dp, p, rows, n, causal);
}

template void softmax_rows(float*, std::int64_t, std::int64_t, bool);
template void softmax_rows(double*, std::int64_t, std::int64_t, bool);
template void softmax_rows_backward(float*, const float*, std::int64_t, std::int64_t, bool);
template void softmax_rows_backward(double*, const double*, std::int64_t, std::int64_t, bool);

}  // namespace vitral::cpu_kernels
