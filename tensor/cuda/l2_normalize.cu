// Division of rows by their norm; how rows are spread over threads is told in rows.h.
#include "tensor/cuda/rows.h"
#include "tensor/ops/l2_normalize.h"

namespace vitral {
namespace {

using cuda::acc_t;

template <class T, int items>
__global__ void __launch_bounds__(cuda::row_threads)
    l2_normalize_warp(T* y, const T* x, std::int64_t rows, std::int64_t width) {
  const std::int64_t r = cuda::warp_row();
  if (r >= rows) return;
  using A = acc_t<T>;
  const int w = static_cast<int>(width);
  cuda::WarpRow<T, items> row(x + r * width, w);
  A sum = 0;
#pragma unroll
  for (int k = 0; k < items; ++k) sum += row.v[k] * row.v[k];
  const A norm = sqrt(cuda::warp_sum(sum));
#pragma unroll
  for (int k = 0; k < items; ++k) row.v[k] /= norm;
  row.write(y + r * width, w);
}

template <class T>
__global__ void __launch_bounds__(cuda::row_threads)
    l2_normalize_block(T* y, const T* x, std::int64_t width) {
  using A = acc_t<T>;
  __shared__ A scratch[cuda::warp_size + 1];
  const std::int64_t begin = blockIdx.x * width;
  A sum = 0;
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads) {
    const A v = cuda::load(x[begin + i]);
    sum += v * v;
  }
  const A norm = sqrt(cuda::block_sum(sum, scratch));
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads)
    y[begin + i] = cuda::store<T>(cuda::load(x[begin + i]) / norm);
}

/// dx = (dy - x sum(dy x) / |x|^2) / |x|, from the two sums.
template <class A>
struct Gradient {
  A projection, norm;
  __device__ Gradient(A dot, A squared) : projection(dot / squared), norm(sqrt(squared)) {}
  __device__ A operator()(A dy, A x) const { return (dy - x * projection) / norm; }
};

template <class T, int items>
__global__ void __launch_bounds__(cuda::row_threads)
    l2_normalize_backward_warp(T* dx, const T* dy, const T* x, std::int64_t rows, std::int64_t width) {
  const std::int64_t r = cuda::warp_row();
  if (r >= rows) return;
  using A = acc_t<T>;
  const int w = static_cast<int>(width);
  const cuda::WarpRow<T, items> row(x + r * width, w);
  cuda::WarpRow<T, items> g(dy + r * width, w);
  A dot = 0, squared = 0;
#pragma unroll
  for (int k = 0; k < items; ++k) {
    dot += g.v[k] * row.v[k];
    squared += row.v[k] * row.v[k];
  }
  const Gradient<A> gradient(cuda::warp_sum(dot), cuda::warp_sum(squared));
#pragma unroll
  for (int k = 0; k < items; ++k) g.v[k] = gradient(g.v[k], row.v[k]);
  g.write(dx + r * width, w);
}

template <class T>
__global__ void __launch_bounds__(cuda::row_threads)
    l2_normalize_backward_block(T* dx, const T* dy, const T* x, std::int64_t width) {
  using A = acc_t<T>;
  __shared__ A scratch[cuda::warp_size + 1];
  const std::int64_t begin = blockIdx.x * width;
  A dot = 0, squared = 0;
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads) {
    const A v = cuda::load(x[begin + i]);
    dot += cuda::load(dy[begin + i]) * v;
    squared += v * v;
  }
  dot = cuda::block_sum(dot, scratch);
  const Gradient<A> gradient(dot, cuda::block_sum(squared, scratch));
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads)
    dx[begin + i] = cuda::store<T>(gradient(cuda::load(dy[begin + i]), cuda::load(x[begin + i])));
}

void l2_normalize(Tensor& y, const Tensor& x) {
  cuda::for_rows("l2_normalize", x,
                 [&]<class T, int items>(cuda::RowKind<T, items>, const cuda::Launch& where,
                                         std::int64_t rows, std::int64_t width) {
                   T* out = cuda::data<T>(y);
                   const T* in = cuda::data<T>(x);
                   if constexpr (items > 0)
                     cuda::launch(where, l2_normalize_warp<T, items>, out, in, rows, width);
                   else
                     cuda::launch(where, l2_normalize_block<T>, out, in, width);
                 });
}

void l2_normalize_backward(Tensor& dx, const Tensor& dy, const Tensor& x) {
  cuda::for_rows("l2_normalize_backward", x,
                 [&]<class T, int items>(cuda::RowKind<T, items>, const cuda::Launch& where,
                                         std::int64_t rows, std::int64_t width) {
                   T* out = cuda::data<T>(dx);
                   const T *g = cuda::data<T>(dy), *in = cuda::data<T>(x);
                   if constexpr (items > 0)
                     cuda::launch(where, l2_normalize_backward_warp<T, items>, out, g, in, rows, width);
                   else
                     cuda::launch(where, l2_normalize_backward_block<T>, out, g, in, width);
                 });
}

const bool implemented = kernel::l2_normalize.implement(Device::Kind::cuda, l2_normalize) &&
                         kernel::l2_normalize_backward.implement(Device::Kind::cuda, l2_normalize_backward);

}  // namespace
}  // namespace vitral
