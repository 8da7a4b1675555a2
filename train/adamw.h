// AdamW over the parameters of a module; tensor/adamw.h has the formula.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "nn/module.h"
#include "tensor/adamw.h"

namespace vitral::train {

class AdamW {
 public:
  AdamW(const nn::Module& module, const AdamWOptions& options);

  /// Updates every parameter that has a gradient (times gradient_scale); one without is left alone, also by
  /// weight decay. The learning rate is that of a schedule, or options.lr.
  void step(double lr, double gradient_scale = 1);
  void step() { step(options_.lr); }

  /// Moments and step counts as NAME.exp_avg, NAME.exp_avg_sq, NAME.step; loading is strict and all or
  /// nothing.
  std::vector<std::pair<std::string, Tensor>> state() const;
  void load_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where);

 private:
  struct Entry {
    nn::NamedParameter parameter;
    Tensor exp_avg, exp_avg_sq;  // undefined until the first gradient
    std::int64_t step = 0;
  };
  std::vector<Entry> entries_;
  AdamWOptions options_;
};

/// Euclidean norm of all gradients together, in double; not finite when any gradient is not.
double gradient_norm(const nn::Module& module);

}  // namespace vitral::train
