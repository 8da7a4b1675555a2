// The optimisers with one tensor of state, SGD with momentum and Lion; tensor/ops/momentum.h has the
// formulas.
#pragma once
#include "tensor/ops/momentum.h"
#include "train/optimizer.h"

namespace vitral::train {

/// State of a parameter: NAME.momentum_buffer.
class Sgd : public Optimizer {
 public:
  Sgd(const nn::Module& module, Decay decay) : Optimizer(module, decay) {}

 private:
  const char* name() const override { return "sgd"; }
  std::vector<std::string> state_names(const nn::NamedParameter&) const override {
    return {"momentum_buffer"};
  }
  void apply(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
             double weight_decay, double average_weight) override {
    kernel::sgd(items, control, steps, weight_decay, average_weight);
  }
};

/// State of a parameter: NAME.exp_avg.
class Lion : public Optimizer {
 public:
  Lion(const nn::Module& module, Decay decay) : Optimizer(module, decay) {}

 private:
  const char* name() const override { return "lion"; }
  std::vector<std::string> state_names(const nn::NamedParameter&) const override { return {"exp_avg"}; }
  void apply(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
             double weight_decay, double average_weight) override {
    kernel::lion(items, control, steps, weight_decay, average_weight);
  }
};

}  // namespace vitral::train
