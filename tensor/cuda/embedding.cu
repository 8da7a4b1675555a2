// A block takes a token (of the pooling: a text) and its threads the columns.
//
// Many tokens are the same one: all texts begin and end alike. Their gradients are added as whole numbers, by
// atomics, and the sum of whole numbers is the same in any order. The unit is a power of two for which the
// sum of `count` times the largest |dy| fits in 63 bits, so that what is cut off is below 2^-40 of that one
// for a million of tokens.
#include <cmath>
#include <limits>

#include "tensor/cuda/elements.h"
#include "tensor/ops/embedding.h"

namespace vitral {
namespace {

constexpr int threads = 128;
using Count = unsigned long long;  // what atomics know; a sum in two's complement

/// The row that a token names, or -1.
__device__ __forceinline__ std::int64_t row_of(std::int64_t token, std::int64_t rows) {
  return token >= 0 && token < rows ? token : -1;
}

template <class T>
__global__ void __launch_bounds__(threads)
    look_up(T* y, const T* table, const std::int64_t* tokens, std::int64_t rows, std::int64_t width) {
  const std::int64_t row = row_of(tokens[blockIdx.x], rows);
  for (std::int64_t i = threadIdx.x; i < width; i += threads)
    y[blockIdx.x * width + i] = row < 0 ? cuda::store<T>(cuda::acc_t<T>(0)) : table[row * width + i];
}

/// The bits of the largest |dy| as a double: they are ordered as the numbers are, NaN behind infinity.
template <class T>
__global__ void __launch_bounds__(threads)
    find_largest(Count* largest, const T* dy, const std::int64_t* tokens, std::int64_t rows,
                 std::int64_t width) {
  if (row_of(tokens[blockIdx.x], rows) < 0) return;
  Count bits = 0;
  for (std::int64_t i = threadIdx.x; i < width; i += threads) {
    const double x = fabs(static_cast<double>(cuda::load(dy[blockIdx.x * width + i])));
    bits = max(bits, static_cast<Count>(__double_as_longlong(x)));
  }
#pragma unroll
  for (int step = cuda::warp_size / 2; step > 0; step /= 2)
    bits = max(bits, __shfl_xor_sync(cuda::full_warp, bits, step));
  if (threadIdx.x % cuda::warp_size == 0 && bits > *static_cast<volatile Count*>(largest))
    atomicMax(largest, bits);
}

__device__ __forceinline__ double number_of(Count bits) {
  return __longlong_as_double(static_cast<long long>(bits));
}

/// Units are 2^-exponent.
__device__ __forceinline__ int exponent_of(double largest, int count_bits) {
  return largest == 0 ? 0 : 61 - ilogb(largest) - count_bits;
}

template <class T>
__global__ void __launch_bounds__(threads)
    add_up(Count* sums, const Count* largest, const T* dy, const std::int64_t* tokens, std::int64_t rows,
           std::int64_t width, int count_bits) {
  const std::int64_t row = row_of(tokens[blockIdx.x], rows);
  const double most = number_of(*largest);
  if (row < 0 || !isfinite(most)) return;
  const int exponent = exponent_of(most, count_bits);
  for (std::int64_t i = threadIdx.x; i < width; i += threads) {
    const auto x = static_cast<double>(cuda::load(dy[blockIdx.x * width + i]));
    const auto units = static_cast<long long>(rint(ldexp(x, exponent)));
    if (units != 0) atomicAdd(sums + row * width + i, static_cast<Count>(units));
  }
}

template <class T>
struct FromUnits {
  const Count* largest;
  int count_bits;
  bool add;
  __device__ T operator()(Count sum, T before) const {
    const double most = number_of(*largest);
    const double x = isfinite(most) ? ldexp(static_cast<double>(static_cast<long long>(sum)),
                                            -exponent_of(most, count_bits))
                                    : std::numeric_limits<double>::quiet_NaN();
    return cuda::store<T>(static_cast<cuda::acc_t<T>>(add ? cuda::load(before) + x : x));
  }
};

template <class T>
__global__ void __launch_bounds__(threads)
    take_end(T* y, const T* x, const std::int64_t* tokens, std::int64_t length, std::int64_t width) {
  const std::int64_t text = blockIdx.x, end = end_of_text(tokens + text * length, length);
  for (std::int64_t i = threadIdx.x; i < width; i += threads)
    y[text * width + i] = x[(text * length + end) * width + i];
}

template <class T>
__global__ void __launch_bounds__(threads)
    put_end(T* dx, const T* dy, const std::int64_t* tokens, std::int64_t length, std::int64_t width) {
  const std::int64_t text = blockIdx.x, end = end_of_text(tokens + text * length, length) * width;
  for (std::int64_t i = threadIdx.x; i < length * width; i += threads)
    dx[text * length * width + i] =
        i >= end && i < end + width ? dy[text * width + i - end] : cuda::store<T>(cuda::acc_t<T>(0));
}

// --- the host's side ---

void embedding(Tensor& y, const Tensor& table, const Tensor& tokens) {
  cuda::dispatch("embedding", y.dtype(), [&]<class T>(T) {
    cuda::launch({"embedding", y.device(), cuda::blocks_for(tokens.numel(), 1), threads}, look_up<T>,
                 cuda::data<T>(y), cuda::data<const T>(table), cuda::data<const std::int64_t>(tokens),
                 table.dim(0), table.dim(1));
  });
}

void embedding_backward(Tensor& dtable, const Tensor& dy, const Tensor& tokens, bool add) {
  constexpr auto operation = "embedding_backward";
  const std::int64_t rows = dtable.dim(0), width = dtable.dim(1);
  Tensor sums = Tensor::zeros({rows, width}, DType::int64, dtable.device()),
         largest = Tensor::zeros({1}, DType::int64, dtable.device());
  int count_bits = 0;  // 2^count_bits >= the number of tokens
  while (std::int64_t{1} << count_bits < tokens.numel()) ++count_bits;
  cuda::dispatch(operation, dtable.dtype(), [&]<class T>(T) {
    const cuda::Launch l{operation, dy.device(), cuda::blocks_for(tokens.numel(), 1), threads};
    const auto* token = cuda::data<const std::int64_t>(tokens);
    auto* most = cuda::data<Count>(largest);
    cuda::launch(l, find_largest<T>, most, cuda::data<const T>(dy), token, rows, width);
    cuda::launch(l, add_up<T>, cuda::data<Count>(sums), most, cuda::data<const T>(dy), token, rows, width,
                 count_bits);
    cuda::map_elements<T, Count, T>(operation, dtable, FromUnits<T>{most, count_bits, add},
                                    cuda::data<const Count>(sums), cuda::data<const T>(dtable));
  });
}

void end_of_text_pooling(Tensor& y, const Tensor& x, const Tensor& tokens) {
  cuda::dispatch("end_of_text_pooling", y.dtype(), [&]<class T>(T) {
    cuda::launch({"end_of_text_pooling", y.device(), cuda::blocks_for(tokens.dim(0), 1), threads},
                 take_end<T>, cuda::data<T>(y), cuda::data<const T>(x),
                 cuda::data<const std::int64_t>(tokens), tokens.dim(1), x.dim(2));
  });
}

void end_of_text_pooling_backward(Tensor& dx, const Tensor& dy, const Tensor& tokens) {
  cuda::dispatch("end_of_text_pooling_backward", dx.dtype(), [&]<class T>(T) {
    cuda::launch({"end_of_text_pooling_backward", dx.device(), cuda::blocks_for(tokens.dim(0), 1), threads},
                 put_end<T>, cuda::data<T>(dx), cuda::data<const T>(dy),
                 cuda::data<const std::int64_t>(tokens), tokens.dim(1), dx.dim(2));
  });
}

const bool implemented =
    kernel::embedding.implement(Device::Kind::cuda, embedding) &&
    kernel::embedding_backward.implement(Device::Kind::cuda, embedding_backward) &&
    kernel::end_of_text_pooling.implement(Device::Kind::cuda, end_of_text_pooling) &&
    kernel::end_of_text_pooling_backward.implement(Device::Kind::cuda, end_of_text_pooling_backward);

}  // namespace
}  // namespace vitral
