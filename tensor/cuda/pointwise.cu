// Pointwise operations: one functor of tensor/ops/pointwise.h at every element, at the speed of the memory.
//
// quick_gelu_both is in every training step: 64 tokens x 2112 numbers of bf16, two read and two
// written, 1.08 MB for an image and layer; an exponential, a division and some ten multiplications and
// additions for each number, 1.6 million operations.
#include "tensor/cuda/coarse.h"
#include "tensor/cuda/elements.h"
#include "tensor/ops/pointwise.h"

namespace vitral {
namespace {

using cuda::bfloat16;

template <class T>
using Number = std::conditional_t<std::is_same_v<T, bfloat16>, cuda::Coarse, T>;

template <class T>
__device__ __forceinline__ Number<T> number(T x) {
  return Number<T>(cuda::load(x));
}
template <class T>
__device__ __forceinline__ T stored(Number<T> x) {
  return cuda::store<T>(static_cast<cuda::acc_t<T>>(x));
}

template <class Functor, class T>
struct Value {
  __device__ T operator()(T x) const { return stored<T>(Functor::value(number(x))); }
};

template <class Functor, class T>
struct Gradient {
  __device__ T operator()(T dy, T x) const { return stored<T>(number(dy) * Functor::derivative(number(x))); }
};

template <class Functor>
void forward(const char* operation, Tensor& y, const Tensor& x) {
  cuda::dispatch(operation, x.dtype(), [&]<class T>(T) {
    cuda::map_elements<T, T>(operation, y, Value<Functor, T>{}, cuda::data<T>(x));
  });
}

template <class Functor>
void backward(const char* operation, Tensor& dx, const Tensor& dy, const Tensor& x) {
  cuda::dispatch(operation, x.dtype(), [&]<class T>(T) {
    cuda::map_elements<T, T, T>(operation, dx, Gradient<Functor, T>{}, cuda::data<T>(dy), cuda::data<T>(x));
  });
}

#define VITRAL_IMPLEMENT(name, Functor)                                                         \
  void name##_forward(Tensor& y, const Tensor& x) { forward<pointwise::Functor>(#name, y, x); } \
  void name##_backward(Tensor& dx, const Tensor& dy, const Tensor& x) {                         \
    backward<pointwise::Functor>(#name "_backward", dx, dy, x);                                 \
  }                                                                                             \
  const bool name##_implemented = kernel::name.implement(Device::Kind::cuda, name##_forward) && \
                                  kernel::name##_backward.implement(Device::Kind::cuda, name##_backward);
VITRAL_POINTWISE_OPS(VITRAL_IMPLEMENT)
#undef VITRAL_IMPLEMENT

// Both results of one pass over x, from one exponential. dx may be dy: a thread has read its numbers before
// it writes.
template <class Functor, class T, int n>
__global__ void __launch_bounds__(cuda::map_threads)
    both_kernel(T* y, T* dx, const T* dy, const T* x, std::int64_t count) {
  const Value<Functor, T> value;
  const Gradient<Functor, T> gradient;
  const std::int64_t packs = count / n;
  const auto v = cuda::load_packs<n>(x, packs);
  const auto g = cuda::load_packs<n>(dy, packs);
#pragma unroll
  for (int k = 0; k < cuda::map_packs; ++k) {
    const std::int64_t i = cuda::first_pack() + k * cuda::map_threads;
    if (i >= packs) continue;
    cuda::Pack<T, n> values, gradients;
#pragma unroll
    for (int j = 0; j < n; ++j) {
      values.v[j] = value(v.at[k].v[j]);
      gradients.v[j] = gradient(g.at[k].v[j], v.at[k].v[j]);
    }
    cuda::store_pack(y + i * n, values);
    cuda::store_pack(dx + i * n, gradients);
  }
  const std::int64_t last = packs * n + cuda::first_pack();
  if (last >= count || cuda::first_pack() >= n) return;
  const T x_last = x[last], dy_last = dy[last];
  y[last] = value(x_last);
  dx[last] = gradient(dy_last, x_last);
}

template <class Functor>
void both(const char* operation, Tensor& y, Tensor& dx, const Tensor& dy, const Tensor& x) {
  const std::int64_t count = x.numel();
  if (count == 0) return;
  cuda::dispatch(operation, x.dtype(), [&]<class T>(T) {
    T *out = cuda::data<T>(y), *grad = cuda::data<T>(dx);
    const T *g = cuda::data<T>(dy), *in = cuda::data<T>(x);
    const auto run = [&]<int n>(std::integral_constant<int, n>) {
      cuda::launch({operation, x.device(), cuda::map_blocks(count / n), cuda::map_threads},
                   both_kernel<Functor, T, n>, out, grad, g, in, count);
    };
    constexpr int n = cuda::pack_size<T>;
    if (cuda::aligned_rows<T>(n, n, out, grad, g, in))
      run(std::integral_constant<int, n>{});
    else
      run(std::integral_constant<int, 1>{});
  });
}

#define VITRAL_IMPLEMENT(name, Functor)                                        \
  void name##_both(Tensor& y, Tensor& dx, const Tensor& dy, const Tensor& x) { \
    both<pointwise::Functor>(#name "_both", y, dx, dy, x);                     \
  }                                                                            \
  const bool name##_both_implemented = kernel::name##_both.implement(Device::Kind::cuda, name##_both);
VITRAL_ACTIVATIONS(VITRAL_IMPLEMENT)
#undef VITRAL_IMPLEMENT

}  // namespace
}  // namespace vitral
