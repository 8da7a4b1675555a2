#include "tensor/cpu/attention/softmax_rows.h"

#include "tensor/cpu/number.h"

namespace vitral::cpu_kernels {
namespace {

template <class C>
VITRAL_CLONES void forward(C* p, std::int64_t rows, std::int64_t n) {
  for (std::int64_t r = 0; r < rows; ++r, p += n) {
    C maximum = p[0], sum = 0;
#pragma omp simd reduction(max : maximum)
    for (std::int64_t i = 0; i < n; ++i) maximum = maximum < p[i] ? p[i] : maximum;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < n; ++i) sum += p[i] = exponential(p[i] - maximum);
    const C share = C(1) / sum;
    for (std::int64_t i = 0; i < n; ++i) p[i] *= share;
  }
}

template <class C>
VITRAL_CLONES void backward(C* dp, const C* p, std::int64_t rows, std::int64_t n) {
  for (std::int64_t r = 0; r < rows; ++r, p += n, dp += n) {
    C mean = 0;
#pragma omp simd reduction(+ : mean)
    for (std::int64_t i = 0; i < n; ++i) mean += p[i] * dp[i];
    for (std::int64_t i = 0; i < n; ++i) dp[i] = p[i] * (dp[i] - mean);
  }
}

}  // namespace

template <class C>
void softmax_rows(C* p, std::int64_t rows, std::int64_t n) {
  forward(p, rows, n);
}
template <class C>
void softmax_rows_backward(C* dp, const C* p, std::int64_t rows, std::int64_t n) {
  backward(dp, p, rows, n);
}

template void softmax_rows(float*, std::int64_t, std::int64_t);
template void softmax_rows(double*, std::int64_t, std::int64_t);
template void softmax_rows_backward(float*, const float*, std::int64_t, std::int64_t);
template void softmax_rows_backward(double*, const double*, std::int64_t, std::int64_t);

}  // namespace vitral::cpu_kernels
