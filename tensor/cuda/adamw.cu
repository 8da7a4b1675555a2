#include <cmath>

#include "tensor/cuda/update.h"
#include "tensor/ops/adamw.h"

namespace vitral {
namespace {

/// All that does not differ from element to element, as the CPU rounds it.
template <class T>
struct Factors {
  T decay, b1, c1, b2, c2, eps, step, root;

  __device__ __forceinline__ void update(T& p, T (&state)[2], T g) const {
    T &m = state[0], &v = state[1];
    m = std::fma(b1, m, c1 * g);
    v = std::fma(b2, v, c2 * g * g);
    p = std::fma(-step, m / (std::sqrt(v) / root + eps), p * decay);
  }
};

struct Formula {
  static constexpr int states = 2, once = 2;
  AdamWOptions o;

  // lr / (1 - beta1^t), sqrt(1 - beta2^t)
  __device__ double number(int i, double lr, double step) const {
    const double rest = 1 - std::pow(i == 0 ? o.beta1 : o.beta2, step);
    return i == 0 ? lr / rest : std::sqrt(rest);
  }
  template <class T>
  __device__ Factors<T> factors(double lr, const double* corrected) const {
    return {static_cast<T>(1 - lr * o.weight_decay),
            static_cast<T>(o.beta1),
            static_cast<T>(1 - o.beta1),
            static_cast<T>(o.beta2),
            static_cast<T>(1 - o.beta2),
            static_cast<T>(o.eps),
            static_cast<T>(corrected[0]),
            static_cast<T>(corrected[1])};
  }
};

void adamw(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
           AdamWOptions options, double average_weight) {
  cuda::update_items("adamw", items, control, steps, Formula{options}, average_weight);
}

const bool implemented = kernel::adamw.implement(Device::Kind::cuda, adamw);

}  // namespace
}  // namespace vitral
