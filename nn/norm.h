// The normalisations of a transformer, with learned weight [W] and, where there is one, bias [W];
// tensor/ops/layer_norm.h has the formulas.
#pragma once
#include <memory>
#include <string>

#include "nn/module.h"

namespace vitral::nn {

class Norm : public Module {
 public:
  /// x [...,W] -> [...,W]
  virtual Variable operator()(const Variable& x) const = 0;
  /// sum = x + delta and its norm, one pass (add_layer_norm in autograd/ops.h).
  virtual SumAndNorm add(const Variable& x, const Variable& delta) const = 0;
};

class LayerNorm : public Norm {
 public:
  explicit LayerNorm(std::int64_t width, double eps = 1e-5)
      : weight(parameter("weight", Tensor::full({width}, 1))),
        bias(parameter("bias", Tensor::zeros({width}))),
        eps_(eps) {}

  Variable operator()(const Variable& x) const override { return layer_norm(x, weight, bias, eps_); }
  SumAndNorm add(const Variable& x, const Variable& delta) const override {
    return add_layer_norm(x, delta, weight, bias, eps_);
  }

  Parameter& weight;
  Parameter& bias;

 private:
  double eps_;
};

class RmsNorm : public Norm {
 public:
  explicit RmsNorm(std::int64_t width, double eps = 1e-6)
      : weight(parameter("weight", Tensor::full({width}, 1))), eps_(eps) {}

  Variable operator()(const Variable& x) const override { return rms_norm(x, weight, eps_); }
  SumAndNorm add(const Variable& x, const Variable& delta) const override {
    return add_rms_norm(x, delta, weight, eps_);
  }

  Parameter& weight;

 private:
  double eps_;
};

/// kind: layer_norm or rms_norm; UsageError else.
inline std::unique_ptr<Norm> make_norm(const std::string& kind, std::int64_t width, double eps) {
  if (kind == "layer_norm") return std::make_unique<LayerNorm>(width, eps);
  if (kind == "rms_norm") return std::make_unique<RmsNorm>(width, eps);
  throw_error<UsageError>("norm: {} is none of layer_norm and rms_norm", kind);
}

}  // namespace vitral::nn
