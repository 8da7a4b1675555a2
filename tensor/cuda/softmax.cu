// Softmax over rows; how rows are spread over threads is told in rows.h. bfloat16 takes the hardware's
// exponential, whose error is far below a rounding to 8 bits.
#include "tensor/cuda/rows.h"
#include "tensor/ops/softmax.h"

namespace vitral {
namespace {

using cuda::acc_t;

template <class T>
__device__ __forceinline__ acc_t<T> exponential(acc_t<T> x) {
  if constexpr (std::is_same_v<T, cuda::bfloat16>)
    return __expf(x);
  else
    return exp(x);
}

template <class T, int items>
__global__ void __launch_bounds__(cuda::row_threads)
    softmax_warp(T* y, const T* x, std::int64_t rows, std::int64_t width) {
  const std::int64_t r = cuda::warp_row();
  if (r >= rows) return;
  using A = acc_t<T>;
  const int w = static_cast<int>(width);
  cuda::WarpRow<T, items> row(x + r * width, w, -static_cast<A>(INFINITY));
  A maximum = row.v[0];
#pragma unroll
  for (int k = 1; k < items; ++k) maximum = cuda::larger(maximum, row.v[k]);
  maximum = cuda::warp_max(maximum);
  A sum = 0;
#pragma unroll
  for (int k = 0; k < items; ++k) {
    row.v[k] = row.index(k) < w ? exponential<T>(row.v[k] - maximum) : A(0);
    sum += row.v[k];
  }
  const A factor = 1 / cuda::warp_sum(sum);
#pragma unroll
  for (int k = 0; k < items; ++k) row.v[k] *= factor;
  row.write(y + r * width, w);
}

template <class T>
__global__ void __launch_bounds__(cuda::row_threads) softmax_block(T* y, const T* x, std::int64_t width) {
  using A = acc_t<T>;
  __shared__ A scratch[cuda::warp_size + 1];
  const std::int64_t begin = blockIdx.x * width;
  A maximum = -static_cast<A>(INFINITY), sum = 0;
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads)
    maximum = cuda::larger(maximum, cuda::load(x[begin + i]));
  maximum = cuda::block_max(maximum, scratch);
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads)
    sum += exponential<T>(cuda::load(x[begin + i]) - maximum);
  const A factor = 1 / cuda::block_sum(sum, scratch);
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads)
    y[begin + i] = cuda::store<T>(exponential<T>(cuda::load(x[begin + i]) - maximum) * factor);
}

template <class T, int items>
__global__ void __launch_bounds__(cuda::row_threads)
    softmax_backward_warp(T* dx, const T* dy, const T* y, std::int64_t rows, std::int64_t width) {
  const std::int64_t r = cuda::warp_row();
  if (r >= rows) return;
  using A = acc_t<T>;
  const int w = static_cast<int>(width);
  const cuda::WarpRow<T, items> p(y + r * width, w);
  cuda::WarpRow<T, items> g(dy + r * width, w);
  A sum = 0;
#pragma unroll
  for (int k = 0; k < items; ++k) sum += g.v[k] * p.v[k];
  sum = cuda::warp_sum(sum);
#pragma unroll
  for (int k = 0; k < items; ++k) g.v[k] = p.v[k] * (g.v[k] - sum);
  g.write(dx + r * width, w);
}

template <class T>
__global__ void __launch_bounds__(cuda::row_threads)
    softmax_backward_block(T* dx, const T* dy, const T* y, std::int64_t width) {
  using A = acc_t<T>;
  __shared__ A scratch[cuda::warp_size + 1];
  const std::int64_t begin = blockIdx.x * width;
  A sum = 0;
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads)
    sum += cuda::load(dy[begin + i]) * cuda::load(y[begin + i]);
  sum = cuda::block_sum(sum, scratch);
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads)
    dx[begin + i] = cuda::store<T>(cuda::load(y[begin + i]) * (cuda::load(dy[begin + i]) - sum));
}

void softmax(Tensor& y, const Tensor& x) {
  cuda::for_rows("softmax", x,
                 [&]<class T, int items>(cuda::RowKind<T, items>, const cuda::Launch& where,
                                         std::int64_t rows, std::int64_t width) {
                   T* out = cuda::data<T>(y);
                   const T* in = cuda::data<T>(x);
                   if constexpr (items > 0)
                     cuda::launch(where, softmax_warp<T, items>, out, in, rows, width);
                   else
                     cuda::launch(where, softmax_block<T>, out, in, width);
                 });
}

void softmax_backward(Tensor& dx, const Tensor& dy, const Tensor& y) {
  cuda::for_rows("softmax_backward", y,
                 [&]<class T, int items>(cuda::RowKind<T, items>, const cuda::Launch& where,
                                         std::int64_t rows, std::int64_t width) {
                   T* out = cuda::data<T>(dx);
                   const T *g = cuda::data<T>(dy), *p = cuda::data<T>(y);
                   if constexpr (items > 0)
                     cuda::launch(where, softmax_backward_warp<T, items>, out, g, p, rows, width);
                   else
                     cuda::launch(where, softmax_backward_block<T>, out, g, p, width);
                 });
}

// One number a row, and few rows: a block each is enough.
template <class T>
__global__ void __launch_bounds__(cuda::row_threads) logsumexp_block(T* y, const T* x, std::int64_t width) {
  using A = acc_t<T>;
  __shared__ A scratch[cuda::warp_size + 1];
  const T* row = x + blockIdx.x * width;
  A maximum = -static_cast<A>(INFINITY), sum = 0;
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads)
    maximum = cuda::larger(maximum, cuda::load(row[i]));
  maximum = cuda::block_max(maximum, scratch);
  for (std::int64_t i = threadIdx.x; i < width; i += cuda::row_threads)
    sum += exponential<T>(cuda::load(row[i]) - maximum);
  sum = cuda::block_sum(sum, scratch);
  if (threadIdx.x == 0) y[blockIdx.x] = cuda::store<T>(maximum + log(sum));
}

void logsumexp(Tensor& y, const Tensor& x) {
  if (x.numel() == 0) return;
  cuda::dispatch("logsumexp", x.dtype(), [&]<class T>(T) {
    cuda::launch({"logsumexp", x.device(), static_cast<unsigned>(y.numel()), cuda::row_threads},
                 logsumexp_block<T>, cuda::data<T>(y), cuda::data<T>(x), x.dim(-1));
  });
}

const bool implemented = kernel::softmax.implement(Device::Kind::cuda, softmax) &&
                         kernel::softmax_backward.implement(Device::Kind::cuda, softmax_backward) &&
                         kernel::logsumexp.implement(Device::Kind::cuda, logsumexp);

}  // namespace
}  // namespace vitral
