#include "tensor/ops/pointwise.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <Eigen/Core>

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

template <class Functor>
void forward(Tensor& y, const Tensor& x) {
  cpu_kernels::dispatch_number("pointwise", x.dtype(), [&]<class T>(T) {
    apply<T>(
        y, [](const Array<T>& v) { return Array<T>(Functor::value(v)); }, x);
  });
}

template <class Functor>
void backward(Tensor& dx, const Tensor& dy, const Tensor& x) {
  cpu_kernels::dispatch_number("pointwise", x.dtype(), [&]<class T>(T) {
    apply<T>(
        dx, [](const Array<T>& g, const Array<T>& v) { return Array<T>(g * Functor::derivative(v)); }, dy, x);
  });
}

// QuickGELU is in every layer of every model here: written out, for all processors.
VITRAL_INLINE double quick_gelu_gate(double x) { return 1 / (1 + std::exp(-1.702 * x)); }

// Without a comparison of floats, after which the compiler would follow both ways, each with a division.
// Beyond 87 the gate is open or closed; what is not a number comes back with the factor x.
VITRAL_INLINE float quick_gelu_gate(float x) {
  constexpr std::int32_t sign = std::numeric_limits<std::int32_t>::min();
  constexpr auto limit = std::bit_cast<std::int32_t>(87.0F);
  const auto bits = std::bit_cast<std::int32_t>(-1.702F * x);
  const std::int32_t size = std::min(bits & ~sign, limit);
  const auto [p, n] = cpu_kernels::exponential_parts(std::bit_cast<float>(size | (bits & sign)));
  // Times 2^n.
  const float gate = 1.0F / (1.0F + std::bit_cast<float>(std::bit_cast<std::int32_t>(p) + (n << 23)));
  return std::bit_cast<float>(std::bit_cast<std::int32_t>(gate) &
                              (static_cast<std::int32_t>(bits > limit) - 1));
}

template <class T>
VITRAL_CLONES void quick_gelu_values(T* y, const T* x, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const auto v = cpu_kernels::load(x[i]);
    cpu_kernels::store(y[i], v * quick_gelu_gate(v));
  }
}

// Also the values, where asked for. dx may be dy.
template <bool values, class T>
VITRAL_CLONES void quick_gelu_slopes(T* y, T* dx, const T* dy, const T* x, std::int64_t n) {
  using C = cpu_kernels::Compute<T>;
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const C v = cpu_kernels::load(x[i]), s = quick_gelu_gate(v);
    if constexpr (values) cpu_kernels::store(y[i], v * s);
    cpu_kernels::store(dx[i], cpu_kernels::load(dy[i]) * (s * (C(1) + C(1.702) * v * (C(1) - s))));
  }
}

template <>
void forward<pointwise::QuickGelu>(Tensor& y, const Tensor& x) {
  cpu_kernels::dispatch_number("quick_gelu", x.dtype(), [&]<class T>(T) {
    T* out = cpu_kernels::elements<T>(y);
    const T* in = cpu_kernels::elements<T>(x);
    cpu_kernels::parallel_chunks(x.numel(), grain, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
      quick_gelu_values(out + begin, in + begin, end - begin);
    });
  });
}

void quick_gelu_gradient(Tensor* y, Tensor& dx, const Tensor& dy, const Tensor& x) {
  cpu_kernels::dispatch_number("quick_gelu_backward", x.dtype(), [&]<class T>(T) {
    T *out = y ? cpu_kernels::elements<T>(*y) : nullptr, *slopes = cpu_kernels::elements<T>(dx);
    const T *g = cpu_kernels::elements<T>(dy), *in = cpu_kernels::elements<T>(x);
    cpu_kernels::parallel_chunks(x.numel(), grain, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
      if (out)
        quick_gelu_slopes<true>(out + begin, slopes + begin, g + begin, in + begin, end - begin);
      else
        quick_gelu_slopes<false>(out, slopes + begin, g + begin, in + begin, end - begin);
    });
  });
}

template <>
void backward<pointwise::QuickGelu>(Tensor& dx, const Tensor& dy, const Tensor& x) {
  quick_gelu_gradient(nullptr, dx, dy, x);
}

void quick_gelu_both(Tensor& y, Tensor& dx, const Tensor& dy, const Tensor& x) {
  quick_gelu_gradient(&y, dx, dy, x);
}

#define VITRAL_IMPLEMENT(name, Functor)                                         \
  const bool name##_implemented =                                               \
      kernel::name.implement(Device::Kind::cpu, forward<pointwise::Functor>) && \
      kernel::name##_backward.implement(Device::Kind::cpu, backward<pointwise::Functor>);
VITRAL_POINTWISE_OPS(VITRAL_IMPLEMENT)
#undef VITRAL_IMPLEMENT
const bool both_implemented = kernel::quick_gelu_both.implement(Device::Kind::cpu, quick_gelu_both);

}  // namespace
}  // namespace vitral
