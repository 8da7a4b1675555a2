#include "tensor/ops/pointwise.h"

#include <algorithm>

#include <Eigen/Core>
#include <unsupported/Eigen/SpecialFunctions>  // erf of arrays

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

constexpr int lanes = 32;  // elements a step: four AVX2 registers of floats
constexpr std::int64_t grain = 16384;

template <class T>
using Array = Eigen::Array<cpu_kernels::Compute<T>, lanes, 1>;

// All lanes, or fewer and ones.
template <class T>
Array<T> load_lanes(const T* from, std::int64_t count) {
  Array<T> a;
  if (count == lanes) {
    for (int i = 0; i < lanes; ++i) a[i] = cpu_kernels::load(from[i]);
    return a;
  }
  a.setOnes();
  for (std::int64_t i = 0; i < count; ++i) a[i] = cpu_kernels::load(from[i]);
  return a;
}

// Applies f to arrays of `lanes` elements of all inputs; the last, incomplete array is padded, so that an
// element's result does not depend on its position.
template <class T, class F, class... Inputs>
void apply(Tensor& y, F&& f, const Inputs&... inputs) {
  T* out = cpu_kernels::elements<T>(y);
  cpu_kernels::parallel_chunks(y.numel(), grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += lanes) {
      const std::int64_t count = std::min<std::int64_t>(lanes, end - i);
      const Array<T> result = f(load_lanes(cpu_kernels::elements<T>(inputs) + i, count)...);
      if (count == lanes)
        for (int k = 0; k < lanes; ++k) cpu_kernels::store(out[i + k], result[k]);
      else
        for (std::int64_t k = 0; k < count; ++k) cpu_kernels::store(out[i + k], result[k]);
    }
  });
}

// Functors that loops vectorise, and those of arrays.
template <class Functor>
constexpr bool is_plain = requires {
  requires Functor::plain;
};

// By value: numbers behind references cost GCC half of the register for bfloat16.
template <class Functor, class C>
VITRAL_INLINE C value_of(C x) {
  return Functor::value(x);
}
template <class Functor, class C>
VITRAL_INLINE C slope_of(C x) {
  return Functor::derivative(x);
}

template <class Functor, class T>
VITRAL_CLONES void values(T* y, const T* x, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) cpu_kernels::store(y[i], value_of<Functor>(cpu_kernels::load(x[i])));
}

// Also the values, where y is wanted. dx may be dy.
template <class Functor, bool with_values, class T>
VITRAL_CLONES void slopes(T* y, T* dx, const T* dy, const T* x, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const auto v = cpu_kernels::load(x[i]);
    if constexpr (with_values) cpu_kernels::store(y[i], value_of<Functor>(v));
    cpu_kernels::store(dx[i], cpu_kernels::load(dy[i]) * slope_of<Functor>(v));
  }
}

template <class Functor>
void forward(Tensor& y, const Tensor& x) {
  cpu_kernels::dispatch_number("pointwise", x.dtype(), [&]<class T>(T) {
    if constexpr (is_plain<Functor>) {
      T* out = cpu_kernels::elements<T>(y);
      const T* in = cpu_kernels::elements<T>(x);
      cpu_kernels::parallel_chunks(x.numel(), grain, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
        values<Functor>(out + begin, in + begin, end - begin);
      });
    } else {
      apply<T>(
          y, [](const Array<T>& v) { return Array<T>(Functor::value(v)); }, x);
    }
  });
}

template <class Functor, bool with_values>
void gradient(Tensor* y, Tensor& dx, const Tensor& dy, const Tensor& x) {
  cpu_kernels::dispatch_number("pointwise", x.dtype(), [&]<class T>(T) {
    if constexpr (is_plain<Functor>) {
      T *out = with_values ? cpu_kernels::elements<T>(*y) : nullptr, *to = cpu_kernels::elements<T>(dx);
      const T *g = cpu_kernels::elements<T>(dy), *in = cpu_kernels::elements<T>(x);
      cpu_kernels::parallel_chunks(x.numel(), grain, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
        slopes<Functor, with_values>(with_values ? out + begin : out, to + begin, g + begin, in + begin,
                                     end - begin);
      });
    } else {
      if constexpr (with_values) forward<Functor>(*y, x);
      apply<T>(
          dx, [](const Array<T>& g, const Array<T>& v) { return Array<T>(g * Functor::derivative(v)); }, dy,
          x);
    }
  });
}

template <class Functor>
void backward(Tensor& dx, const Tensor& dy, const Tensor& x) {
  gradient<Functor, false>(nullptr, dx, dy, x);
}

template <class Functor>
void both(Tensor& y, Tensor& dx, const Tensor& dy, const Tensor& x) {
  gradient<Functor, true>(&y, dx, dy, x);
}

#define VITRAL_IMPLEMENT(name, Functor)                                         \
  const bool name##_implemented =                                               \
      kernel::name.implement(Device::Kind::cpu, forward<pointwise::Functor>) && \
      kernel::name##_backward.implement(Device::Kind::cpu, backward<pointwise::Functor>);
VITRAL_POINTWISE_OPS(VITRAL_IMPLEMENT)
#undef VITRAL_IMPLEMENT
#define VITRAL_IMPLEMENT(name, Functor) \
  const bool name##_both_implemented =  \
      kernel::name##_both.implement(Device::Kind::cpu, both<pointwise::Functor>);
VITRAL_ACTIVATIONS(VITRAL_IMPLEMENT)
#undef VITRAL_IMPLEMENT

}  // namespace
}  // namespace vitral
