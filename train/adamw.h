// AdamW; tensor/ops/adamw.h has the formula.
//
//   AdamW optimizer(module, {.weight_decay = 0.1});
//   module.zero_grad();
//   loss.backward();
//   optimizer.step(1e-3);
#pragma once
#include "tensor/ops/adamw.h"
#include "train/optimizer.h"

namespace vitral::train {

/// State of a parameter: NAME.exp_avg, NAME.exp_avg_sq.
class AdamW : public Optimizer {
 public:
  explicit AdamW(const nn::Module& module, const AdamWOptions& options = {}, bool decay_matrices_only = false)
      : Optimizer(module, {options.weight_decay, decay_matrices_only}), options_(options) {}

  using Optimizer::step;
  /// With the learning rate of the options.
  void step() { step(options_.lr); }

 protected:
  const char* name() const override { return "adamw"; }
  std::vector<std::string> state_names(const nn::NamedParameter&) const override {
    return {"exp_avg", "exp_avg_sq"};
  }
  void apply(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
             double weight_decay, double average_weight) override {
    AdamWOptions options = options_;
    options.weight_decay = weight_decay;
    kernel::adamw(items, control, steps, options, average_weight);
  }

 private:
  AdamWOptions options_;
};

}  // namespace vitral::train
