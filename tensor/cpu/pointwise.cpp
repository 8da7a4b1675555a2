#include "tensor/pointwise.h"

#include <Eigen/Core>

#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

constexpr int lanes = 32;  // elements a step: four AVX2 registers of floats
constexpr std::int64_t grain = 16384;

// Applies f to arrays of `lanes` elements of all inputs; the last, incomplete array is padded, so that an
// element's result does not depend on its position.
template <class T, class F, class... Inputs>
void apply(Tensor& y, F&& f, const Inputs&... inputs) {
  using Array = Eigen::Array<T, lanes, 1>;
  T* out = y.data<T>();
  cpu_kernels::parallel_chunks(y.numel(), grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    std::int64_t i = begin;
    for (; i + lanes <= end; i += lanes)
      Eigen::Map<Array>(out + i) = f(Array(Eigen::Map<const Array>(inputs.template data<T>() + i))...);
    if (i == end) return;
    const auto padded = [&](const T* from) {
      Array a = Array::Ones();
      std::copy(from + i, from + end, a.data());
      return a;
    };
    const Array last = f(padded(inputs.template data<T>())...);
    std::copy(last.data(), last.data() + (end - i), out + i);
  });
}

template <class Functor>
void forward(Tensor& y, const Tensor& x) {
  dispatch_float("pointwise", x.dtype(), [&]<class T>(T) {
    apply<T>(
        y, [](const auto& v) { return Functor::value(v); }, x);
  });
}

template <class Functor>
void backward(Tensor& dx, const Tensor& dy, const Tensor& x) {
  dispatch_float("pointwise", x.dtype(), [&]<class T>(T) {
    using Array = Eigen::Array<T, lanes, 1>;
    apply<T>(
        dx, [](const auto& g, const auto& v) { return Array(g * Functor::derivative(v)); }, dy, x);
  });
}

#define VITRAL_IMPLEMENT(name, Functor)                                         \
  const bool name##_implemented =                                               \
      kernel::name.implement(Device::Kind::cpu, forward<pointwise::Functor>) && \
      kernel::name##_backward.implement(Device::Kind::cpu, backward<pointwise::Functor>);
VITRAL_POINTWISE_OPS(VITRAL_IMPLEMENT)
#undef VITRAL_IMPLEMENT

}  // namespace
}  // namespace vitral
