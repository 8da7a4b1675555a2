// AdamW over the parameters of a module; tensor/ops/adamw.h has the formula and what a step consists of.
// Nothing here waits for the device: whether a step counts is decided there, and result() holds what the host
// may want to know.
#pragma once
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nn/module.h"
#include "tensor/ops/adamw.h"

namespace vitral::train {

/// What else an update does.
struct UpdateOptions {
  double clip_norm = 0;               // largest norm of all gradients together; 0: any
  std::span<const Tensor> average{};  // moving averages of the parameters, in their order, or none
  double average_weight = 0;          // 1 - decay
};

class AdamW {
 public:
  /// The module stays on the device where it is now.
  AdamW(const nn::Module& module, const AdamWOptions& options);

  /// A whole step without a loss to look at, with this learning rate or that of the options.
  void step(double lr);
  void step() { step(options_.lr); }

  // The same in pieces: begin(), add_loss() for each micro-batch, update().
  /// float64 [1] on the module's device: the learning rate of the next update.
  Tensor lr() const { return control_.rows(update_lr, update_lr + 1); }
  void begin();
  void add_loss(const Tensor& loss, double weight);
  /// Updates every parameter that has a gradient; one without is left alone, also by weight decay. Nothing
  /// changes where the loss or a gradient is not finite. A copy that a parameter keeps is updated, too.
  void update(const UpdateOptions& options = {});
  /// float64 [update_slots] on the module's device.
  const Tensor& result() const { return control_; }

  /// Moments and step counts as NAME.exp_avg, NAME.exp_avg_sq, NAME.step; loading is strict and all or
  /// nothing.
  std::vector<std::pair<std::string, Tensor>> state() const;
  void load_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where);

 private:
  struct Entry {
    nn::NamedParameter parameter;
    Tensor exp_avg, exp_avg_sq;  // undefined until the first gradient
  };
  std::vector<Entry> entries_;
  AdamWOptions options_;
  Tensor control_, steps_;  // float64 [update_slots], int64 [entries]
};

}  // namespace vitral::train
