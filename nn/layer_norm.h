// Layer normalisation with learned weight and bias [W]; tensor/ops/layer_norm.h has the formula.
#pragma once
#include "nn/module.h"

namespace vitral::nn {

class LayerNorm : public Module {
 public:
  explicit LayerNorm(std::int64_t width)
      : weight(parameter("weight", Tensor::full({width}, 1))),
        bias(parameter("bias", Tensor::zeros({width}))) {}

  /// x [...,W] -> [...,W]
  Variable operator()(const Variable& x) const { return layer_norm(x, weight, bias, 1e-5); }

  /// sum = x + delta and its norm, one pass (add_layer_norm in autograd/ops.h).
  SumAndNorm add(const Variable& x, const Variable& delta) const {
    return add_layer_norm(x, delta, weight, bias, 1e-5);
  }

  Parameter& weight;
  Parameter& bias;
};

}  // namespace vitral::nn
