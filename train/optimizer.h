// An optimiser over the parameters of a module; tensor/ops/update.h says what a step consists of. Nothing
// here waits for the device: whether a step counts is decided there, and result() holds what the host may
// want to know.
//
// A new optimiser is a class that names its state and calls its kernel (train/adamw.h is one), and a row in
// make_optimizer().
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nn/module.h"
#include "tensor/ops/update.h"

namespace vitral::train {

struct OptimizerConfig;

/// What else an update does.
struct UpdateOptions {
  double clip_norm = 0;  // largest norm of all gradients together; 0: any
  /// Instead of the parameters' own, in their order; undefined: none.
  std::optional<std::span<const Tensor>> gradients{};
  std::span<const Tensor> average{};  // moving averages of the parameters, in their order, or none
  double average_weight = 0;          // 1 - decay
};

/// Decoupled weight decay: p *= 1 - lr weight, before the formula.
struct Decay {
  double weight = 0.01;
  bool matrices_only = false;  // not of parameters of one dimension: biases, scales of norms
};

class Optimizer {
 public:
  static constexpr int max_terms = update_slots - update_terms;

  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// A whole step without a loss to look at.
  void step(double lr);

  // The same in pieces: begin(), add_loss() for each micro-batch, update().
  /// float64 [1] on the module's device: the learning rate of the next update.
  Tensor lr() const { return control_.rows(update_lr, update_lr + 1); }
  void begin();
  /// float64 [update_slots]: what begin() has cleared but for the learning rate, for who knows more to begin
  /// with (images that were planned), or goes on with what came of others.
  Tensor& control() { return control_; }
  void add_loss(const Tensor& loss, double weight);
  /// Term `i` of the loss, below max_terms: summed up for result(), no more.
  void add_term(int i, const Tensor& value, double weight);
  /// Updates every parameter that has a gradient; one without is left alone, also by weight decay. Nothing
  /// changes where the loss or a gradient is not finite. A copy that a parameter keeps is updated, too.
  void update(const UpdateOptions& options = {});
  /// float64 [update_slots] on the module's device.
  const Tensor& result() const { return control_; }

  /// What a resume needs: of each parameter its state as NAME.STATE, and the steps it has had as NAME.step.
  /// Loading is strict and all or nothing: UsageError naming `where` and what another optimiser or another
  /// architecture has left there.
  std::vector<std::pair<std::string, Tensor>> state() const;
  void load_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where);

 protected:
  /// The module stays on the device where it is now.
  Optimizer(const nn::Module& module, Decay decay);

  /// As train.optimizer.name has it.
  virtual const char* name() const = 0;
  /// Names of the state of a parameter: tensors of its shape, zero at first, as many as an UpdateItem holds
  /// at most.
  virtual std::vector<std::string> state_names(const nn::NamedParameter& parameter) const = 0;
  /// The formula, for parameters that have a gradient and decay alike; item.slot counts all parameters of the
  /// module.
  virtual void apply(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
                     double weight_decay, double average_weight) = 0;

 private:
  struct Entry {
    nn::NamedParameter parameter;
    std::array<Tensor, 2> state;  // undefined until the first gradient
  };

  Decay decay_;
  std::vector<Entry> entries_;
  Tensor control_, steps_;  // float64 [update_slots], int64 [entries]
};

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, const nn::Module& module);

}  // namespace vitral::train
