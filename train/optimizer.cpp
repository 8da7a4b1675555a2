#include "train/optimizer.h"

#include <map>

#include "train/adamw.h"
#include "train/config.h"

namespace vitral::train {

Optimizer::Optimizer(const nn::Module& module) {
  for (const auto& p : module.parameters()) entries_.push_back({p, {}});
  const Device device = entries_.empty() ? cpu : entries_.front().parameter.value->device();
  control_ = Tensor::zeros({update_slots}, DType::float64, device);
  steps_ = Tensor::zeros({static_cast<std::int64_t>(entries_.size())}, DType::int64, device);
}

void Optimizer::step(double lr) {
  this->lr().fill(lr);
  begin();
  update();
}

void Optimizer::begin() { control_.rows(update_loss, update_slots).fill(0); }

void Optimizer::add_loss(const Tensor& loss, double weight) {
  kernel::add_loss(control_, update_loss, loss, weight);
}

void Optimizer::add_term(int i, const Tensor& value, double weight) {
  VITRAL_CHECK(i >= 0 && i < max_terms, "optimizer: term {} of the loss is not one of the first {}", i,
               max_terms);
  kernel::add_loss(control_, update_terms + i, value, weight);
}

void Optimizer::update(const UpdateOptions& options) {
  std::vector<UpdateItem> items;
  std::vector<Tensor> gradients;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Entry& e = entries_[i];
    const Tensor& grad = options.gradients ? (*options.gradients)[i] : e.parameter.value->grad();
    if (!grad.defined()) continue;
    const auto [value, copy] = e.parameter.value->write();
    for (std::size_t k = 0; k < state_names(e.parameter).size(); ++k)
      if (!e.state[k].defined()) e.state[k] = Tensor::zeros(value.shape(), value.dtype(), value.device());
    items.push_back({.p = value,
                     .g = grad,
                     .state = e.state,
                     .average = options.average.empty() ? Tensor() : options.average[i],
                     .copy = copy,
                     .slot = static_cast<std::int64_t>(i)});
    gradients.push_back(grad);
  }
  kernel::sum_of_squares(control_, gradients);
  kernel::begin_update(control_, steps_, items, options.clip_norm);
  apply(items, control_, steps_, options.average_weight);
}

std::vector<std::pair<std::string, Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, Tensor>> out;
  const Tensor steps = steps_.to(cpu);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const auto& [parameter, state] = entries_[i];
    const auto names = state_names(parameter);
    if (!state.front().defined()) continue;
    for (std::size_t k = 0; k < names.size(); ++k)
      out.emplace_back(parameter.name + "." + names[k], state[k]);
    out.emplace_back(parameter.name + ".step",
                     Tensor::from(std::vector<std::int64_t>{steps.data<std::int64_t>()[i]}, {1}));
  }
  return out;
}

void Optimizer::load_state(const std::vector<std::pair<std::string, Tensor>>& state,
                           const std::string& where) {
  std::map<std::string, Tensor> given(state.begin(), state.end());
  std::vector<Entry> entries = entries_;
  Tensor steps = Tensor::zeros(steps_.shape(), DType::int64);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Entry& e = entries[i];
    const Tensor& value = e.parameter.value->value();
    // What is there of this parameter, taken out of `given`.
    std::size_t found = 0;
    bool fits = true;
    const auto take = [&](const std::string& name, const Shape& shape, DType dtype) {
      const auto node = given.extract(e.parameter.name + "." + name);
      if (node.empty()) return Tensor();
      ++found;
      fits = fits && node.mapped().shape() == shape && node.mapped().dtype() == dtype;
      return node.mapped();
    };
    const auto names = state_names(e.parameter);
    e.state = {};
    for (std::size_t k = 0; k < names.size(); ++k)
      if (const Tensor t = take(names[k], value.shape(), value.dtype()); t.defined())
        e.state[k] = t.to(value.device()).clone();
    if (const Tensor t = take("step", {1}, DType::int64); t.defined() && fits)
      steps.data<std::int64_t>()[i] = *t.data<std::int64_t>();
    VITRAL_CHECK(
        found == 0 || (fits && found == names.size() + 1),
        "{}: optimiser state of '{}' does not fit its weights {}; it belongs to another architecture", where,
        e.parameter.name, value.shape());
  }
  VITRAL_CHECK(
      given.empty(),
      "{}: has optimiser state of weights that this model does not know; it belongs to another architecture",
      where);
  entries_ = std::move(entries);
  steps_.copy_from(steps);
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, const nn::Module& module) {
  VITRAL_CHECK(config.name == "adamw", "train.optimizer.name: {} is unknown, choose adamw", config.name);
  return std::make_unique<AdamW>(module, AdamWOptions{.lr = config.lr,
                                                      .beta1 = config.betas[0],
                                                      .beta2 = config.betas[1],
                                                      .eps = config.eps,
                                                      .weight_decay = config.weight_decay});
}

}  // namespace vitral::train
