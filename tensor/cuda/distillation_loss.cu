// The distillation loss, one warp per row; the row is read three times, from the caches after the first: for
// the norms, for the loss and u . s, for dy. Blocks write the sums of their rows' losses, which sum_axis
// adds.
//
// Once a step: docs/performance.md has its bytes.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/cuda/device.h"
#include "tensor/ops/distillation_loss.h"
#include "tensor/ops/reduce.h"

namespace vitral {
namespace {

using cuda::warp_size;
using cuda::warp_sum;

constexpr int warps = 8, threads = warps * warp_size;

template <class T>
struct Rows {
  T* partial;  // of each block: sum of | u - t/|t| |
  T* dy;
  const T *y, *t;
  int rows, width;
  T step;  // norm / (B D)
};

template <class T>
__device__ __forceinline__ T sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0);
}

template <class T>
__device__ __forceinline__ double row_loss(const Rows<T>& a, int row) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const std::int64_t begin = static_cast<std::int64_t>(row) * a.width;
  const T *y = a.y + begin, *t = a.t + begin;
  T y_length = 0, t_length = 0;
  for (int i = lane; i < a.width; i += warp_size) {
    y_length += y[i] * y[i];
    t_length += t[i] * t[i];
  }
  y_length = std::sqrt(warp_sum(y_length));
  t_length = std::sqrt(warp_sum(t_length));

  T sum = 0, along = 0;  // u . s
  for (int i = lane; i < a.width; i += warp_size) {
    const T u = y[i] / y_length, difference = u - t[i] / t_length;
    sum += std::fabs(difference);
    along += u * (sign(difference) * a.step);
  }
  sum = warp_sum(sum);
  along = warp_sum(along);
  if (a.dy)
    for (int i = lane; i < a.width; i += warp_size) {
      const T u = y[i] / y_length;
      a.dy[begin + i] = (sign(u - t[i] / t_length) * a.step - u * along) / y_length;
    }
  return static_cast<double>(sum);
}

template <class T>
__global__ void __launch_bounds__(threads) losses(const Rows<T> a) {
  __shared__ double of_warps[warps];
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  const int row = static_cast<int>(blockIdx.x) * warps + warp;
  const double loss = row < a.rows ? row_loss(a, row) : 0;
  if (threadIdx.x % warp_size == 0) of_warps[warp] = loss;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double sum = 0;
  for (double of_warp : of_warps) sum += of_warp;
  a.partial[blockIdx.x] = static_cast<T>(sum);
}

void distillation_loss(Tensor& loss, Tensor& dy, const Tensor& y, const Tensor& t, double norm) {
  const char* operation = "distillation_loss";
  const std::int64_t rows = y.dim(0), width = y.dim(1);
  VITRAL_CHECK(std::max(rows, width) <= std::numeric_limits<int>::max() - threads, "{}: y {} is too large",
               operation, y.shape());
  const double factor = norm / static_cast<double>(rows * width);
  dispatch_float(operation, y.dtype(), [&]<class T>(T) {
    const unsigned blocks = cuda::blocks_for(rows, warps);
    const Tensor partial({blocks}, y.dtype(), y.device());
    const Rows<T> a{cuda::data<T>(partial), cuda::data<T>(dy),       cuda::data<T>(y),      cuda::data<T>(t),
                    static_cast<int>(rows), static_cast<int>(width), static_cast<T>(factor)};
    cuda::launch({operation, y.device(), blocks, threads}, losses<T>, a);
    kernel::sum_axis(loss, partial, {1, blocks, 1}, factor);
  });
}

const bool implemented = kernel::distillation_loss.implement(Device::Kind::cuda, distillation_loss);

}  // namespace
}  // namespace vitral
