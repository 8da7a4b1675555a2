#include "tensor/ops/reduce.h"

#include <algorithm>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral {
namespace {

using cpu_kernels::Compute;
using cpu_kernels::elements;
using cpu_kernels::load;
using cpu_kernels::store;

// Sum of contiguous numbers in double: pieces of 512 in the precision of T, pieces in double.
template <class T>
VITRAL_CLONES double contiguous_sum(const T* x, std::int64_t n) {
  double total = 0;
  for (std::int64_t i = 0; i < n; i += 512) {
    const std::int64_t end = std::min<std::int64_t>(n, i + 512);
    Compute<T> sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = i; k < end; ++k) sum += load(x[k]);
    total += static_cast<double>(sum);
  }
  return total;
}

// sum = the sum of rows [begin, end) of x, each `inner` long.
template <class T>
VITRAL_CLONES void sum_rows(Compute<T>* __restrict sum, const T* __restrict x, std::int64_t inner,
                            std::int64_t begin, std::int64_t end) {
  std::fill(sum, sum + inner, Compute<T>(0));
  std::int64_t r = begin;
  for (; r + 4 <= end; r += 4) {
    const T *a = x + r * inner, *b = a + inner, *c = b + inner, *d = c + inner;
    for (std::int64_t i = 0; i < inner; ++i) sum[i] += (load(a[i]) + load(b[i])) + (load(c[i]) + load(d[i]));
  }
  for (; r < end; ++r)
    for (std::int64_t i = 0; i < inner; ++i) sum[i] += load(x[r * inner + i]);
}

// Few long columns: rows are summed in chunks to partial rows, which are then added in order.
template <class Y, class T>
void sum_columns(Y* y, const T* x, std::int64_t n, std::int64_t inner, Compute<T> factor) {
  constexpr std::int64_t rows = 128;
  const std::int64_t chunks = cpu_kernels::chunk_count(n, rows);
  Tensor partial({chunks, inner}, dtype_of<Compute<T>>);
  Compute<T>* parts = partial.data<Compute<T>>();
  cpu_kernels::parallel_chunks(n, rows, [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
    sum_rows<T>(parts + chunk * inner, x, inner, begin, end);
  });
  for (std::int64_t c = 1; c < chunks; ++c)
    for (std::int64_t i = 0; i < inner; ++i) parts[i] += parts[c * inner + i];
  for (std::int64_t i = 0; i < inner; ++i) store(y[i], parts[i] * factor);
}

template <class Y, class T>
void sum_axis_as(Tensor& y, const Tensor& x, AxisView view, double factor) {
  const std::int64_t outer = view.outer, n = view.n, inner = view.inner;
  using C = Compute<T>;
  Y* out = elements<Y>(y);
  const T* in = elements<T>(x);
  if (inner == 1) {
    cpu_kernels::parallel_chunks(outer, std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, n)),
                                 [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                                   for (std::int64_t o = begin; o < end; ++o)
                                     store(out[o], static_cast<C>(factor * contiguous_sum(in + o * n, n)));
                                 });
  } else if (outer == 1 && n > 0) {
    sum_columns(out, in, n, inner, static_cast<C>(factor));
  } else {
    cpu_kernels::parallel_chunks(outer, 1, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        C* sum = cpu_kernels::scratch<C>(static_cast<std::size_t>(inner));
        sum_rows<T>(sum, in + o * n * inner, inner, 0, n);
        for (std::int64_t i = 0; i < inner; ++i) store(out[o * inner + i], sum[i] * static_cast<C>(factor));
      }
    });
  }
}

void sum_axis(Tensor& y, const Tensor& x, AxisView view, double factor) {
  cpu_kernels::dispatch_number("sum_axis", x.dtype(), [&]<class T>(T) {
    if (y.dtype() == x.dtype())
      sum_axis_as<T, T>(y, x, view, factor);
    else
      sum_axis_as<Compute<T>, T>(y, x, view, factor);
  });
}

template <class T>
VITRAL_CLONES double sum_of_squares(const T* x, std::int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i)
    sum += static_cast<double>(load(x[i])) * static_cast<double>(load(x[i]));
  return sum;
}

void add_sum_of_squares(Tensor& total, const Tensor& x) {
  cpu_kernels::dispatch_number("add_sum_of_squares", x.dtype(), [&]<class T>(T) {
    constexpr std::int64_t grain = 65536;
    const T* in = elements<T>(x);
    Tensor partial({cpu_kernels::chunk_count(x.numel(), grain) + 1}, DType::float64);
    double* parts = partial.data<double>();
    cpu_kernels::parallel_chunks(x.numel(), grain,
                                 [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
                                   parts[chunk] = sum_of_squares(in + begin, end - begin);
                                 });
    double* out = total.data<double>();
    for (std::int64_t c = 0; c < cpu_kernels::chunk_count(x.numel(), grain); ++c) *out += parts[c];
  });
}

const bool implemented = kernel::sum_axis.implement(Device::Kind::cpu, sum_axis) &&
                         kernel::add_sum_of_squares.implement(Device::Kind::cpu, add_sum_of_squares);

}  // namespace
}  // namespace vitral
