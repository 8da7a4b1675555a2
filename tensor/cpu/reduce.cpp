#include "tensor/reduce.h"

#include <Eigen/Core>

#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

template <class T>
using Array = Eigen::Array<T, Eigen::Dynamic, 1>;
template <class T>
using Map = Eigen::Map<Array<T>>;
template <class T>
using ConstMap = Eigen::Map<const Array<T>>;

// Sum of contiguous numbers in double: pieces of 512 by Eigen in T, pieces in double.
template <class T>
double contiguous_sum(const T* x, std::int64_t n) {
  double total = 0;
  for (std::int64_t i = 0; i < n; i += 512)
    total += static_cast<double>(ConstMap<T>(x + i, std::min<std::int64_t>(512, n - i)).sum());
  return total;
}

// Few long columns: rows are summed in chunks to partial rows, which are then added in order.
template <class T>
void sum_rows(T* y, const T* x, std::int64_t n, std::int64_t inner, T factor) {
  constexpr std::int64_t rows = 256;
  const std::int64_t chunks = cpu_kernels::chunk_count(n, rows);
  Tensor partial({chunks, inner}, dtype_of<T>);
  T* parts = partial.data<T>();
  cpu_kernels::parallel_chunks(n, rows, [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
    Map<T> sum(parts + chunk * inner, inner);
    sum = ConstMap<T>(x + begin * inner, inner);
    for (std::int64_t r = begin + 1; r < end; ++r) sum += ConstMap<T>(x + r * inner, inner);
  });
  Map<T> out(y, inner);
  out.setZero();
  for (std::int64_t c = 0; c < chunks; ++c) out += ConstMap<T>(parts + c * inner, inner);
  out *= factor;
}

void sum_axis(Tensor& y, const Tensor& x, std::int64_t outer, std::int64_t n, std::int64_t inner,
              double factor) {
  dispatch_float("sum_axis", x.dtype(), [&]<class T>(T) {
    T* out = y.data<T>();
    const T* in = x.data<T>();
    if (inner == 1) {
      cpu_kernels::parallel_chunks(outer, std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, n)),
                                   [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                                     for (std::int64_t o = begin; o < end; ++o)
                                       out[o] = static_cast<T>(factor * contiguous_sum(in + o * n, n));
                                   });
    } else if (outer == 1 && n > 0) {
      sum_rows(out, in, n, inner, static_cast<T>(factor));
    } else {
      cpu_kernels::parallel_chunks(outer, 1, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
        for (std::int64_t o = begin; o < end; ++o) {
          Map<T> sum(out + o * inner, inner);
          sum.setZero();
          for (std::int64_t k = 0; k < n; ++k) sum += ConstMap<T>(in + (o * n + k) * inner, inner);
          sum *= static_cast<T>(factor);
        }
      });
    }
  });
}

void add_sum_of_squares(Tensor& total, const Tensor& x) {
  dispatch_float("add_sum_of_squares", x.dtype(), [&]<class T>(T) {
    constexpr std::int64_t grain = 65536;
    const T* in = x.data<T>();
    Tensor partial({cpu_kernels::chunk_count(x.numel(), grain) + 1}, DType::float64);
    double* parts = partial.data<double>();
    cpu_kernels::parallel_chunks(x.numel(), grain,
                                 [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
                                   double sum = 0;
                                   for (std::int64_t i = begin; i < end; i += 512)
                                     sum += ConstMap<T>(in + i, std::min<std::int64_t>(512, end - i))
                                                .template cast<double>()
                                                .square()
                                                .sum();
                                   parts[chunk] = sum;
                                 });
    double* out = total.data<double>();
    for (std::int64_t c = 0; c < cpu_kernels::chunk_count(x.numel(), grain); ++c) *out += parts[c];
  });
}

const bool implemented = kernel::sum_axis.implement(Device::Kind::cpu, sum_axis) &&
                         kernel::add_sum_of_squares.implement(Device::Kind::cpu, add_sum_of_squares);

}  // namespace
}  // namespace vitral
