// Layer normalisation with learned weight and bias [W]; tensor/ops/layer_norm.h has the formula.
#pragma once
#include "nn/module.h"

namespace vitral::nn {

class LayerNorm : public Module {
 public:
  explicit LayerNorm(std::int64_t width, double eps = 1e-5)
      : weight(parameter("weight", Tensor::full({width}, 1))),
        bias(parameter("bias", Tensor::zeros({width}))),
        eps_(eps) {}

  /// x [...,W] -> [...,W]
  Variable operator()(const Variable& x) const { return layer_norm(x, weight, bias, eps_); }

  /// sum = x + delta and its norm, one pass (add_layer_norm in autograd/ops.h).
  SumAndNorm add(const Variable& x, const Variable& delta) const {
    return add_layer_norm(x, delta, weight, bias, eps_);
  }

  Parameter& weight;
  Parameter& bias;

 private:
  double eps_;
};

}  // namespace vitral::nn
