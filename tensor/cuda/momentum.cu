#include "tensor/cuda/update.h"
#include "tensor/ops/momentum.h"

namespace vitral {
namespace {

template <class Rule, class T>
struct Factors {
  T lr, decay;

  __device__ __forceinline__ void update(T& p, T (&state)[1], T g) const {
    Rule::update(p, state[0], g, lr, decay);
  }
};

template <class Rule>
struct Formula {
  static constexpr int states = 1, once = 1;
  double weight_decay;

  __device__ double number(int, double lr, double) const { return 1 - lr * weight_decay; }
  template <class T>
  __device__ Factors<Rule, T> factors(double lr, const double* decay) const {
    return {static_cast<T>(lr), static_cast<T>(*decay)};
  }
};

template <class Rule>
void update_items(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
                  double weight_decay, double average_weight) {
  cuda::update_items(Rule::name, items, control, steps, Formula<Rule>{weight_decay}, average_weight);
}

const bool implemented = kernel::for_momentum_kernels(
    []<class Rule>(Rule, auto& kernel) { return kernel.implement(Device::Kind::cuda, update_items<Rule>); });

}  // namespace
}  // namespace vitral
