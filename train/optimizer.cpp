#include "train/optimizer.h"

#include <algorithm>
#include <map>
#include <ranges>

#include <fmt/ranges.h>

#include "train/adamw.h"
#include "train/config.h"
#include "train/momentum.h"
#include "train/muon.h"

namespace vitral::train {

Optimizer::Optimizer(const nn::Module& module, Decay decay) : decay_(decay) {
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
  const auto decaying = decay_.matrices_only
                            ? std::stable_partition(items.begin(), items.end(),
                                                    [](const UpdateItem& i) { return i.p.rank() >= 2; })
                            : items.end();
  apply({items.begin(), decaying}, control_, steps_, decay_.weight, options.average_weight);
  if (decay_.matrices_only) apply({decaying, items.end()}, control_, steps_, 0, options.average_weight);
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
  std::map<std::string, std::map<std::string, Tensor>> given;  // by parameter and name of the state
  for (const auto& [name, tensor] : state) {
    const std::size_t dot = name.rfind('.');
    given[name.substr(0, dot)][dot == std::string::npos ? "" : name.substr(dot + 1)] = tensor;
  }
  std::vector<Entry> entries = entries_;
  Tensor steps = Tensor::zeros(steps_.shape(), DType::int64);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Entry& e = entries[i];
    e.state = {};
    const auto node = given.extract(e.parameter.name);
    if (node.empty()) continue;
    const std::map<std::string, Tensor>& found = node.mapped();
    std::vector<std::string> names = state_names(e.parameter);
    names.emplace_back("step");
    VITRAL_CHECK(
        found.size() == names.size() &&
            std::all_of(names.begin(), names.end(), [&](const auto& n) { return found.contains(n); }),
        "{}: has {} of '{}', train.optimizer.name {} keeps {}: another optimizer has written it; set it as "
        "it "
        "was, or start a new run with model.init_from",
        where, fmt::join(std::views::keys(found), ", "), e.parameter.name, name(), fmt::join(names, ", "));
    const Tensor& value = e.parameter.value->value();
    for (std::size_t k = 0; k < names.size(); ++k) {
      const Tensor& t = found.at(names[k]);
      const bool is_step = names[k] == "step";
      VITRAL_CHECK(
          t.shape() == (is_step ? Shape{1} : value.shape()) &&
              t.dtype() == (is_step ? DType::int64 : value.dtype()),
          "{}: optimiser state of '{}' does not fit its weights {}; it belongs to another architecture",
          where, e.parameter.name, value.shape());
      if (is_step)
        steps.data<std::int64_t>()[i] = *t.data<std::int64_t>();
      else
        e.state[k] = t.to(value.device()).clone();
    }
  }
  VITRAL_CHECK(
      given.empty(),
      "{}: has optimiser state of weights that this model does not know; it belongs to another architecture",
      where);
  entries_ = std::move(entries);
  steps_.copy_from(steps);
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, const nn::Module& module) {
  const Decay decay{config.weight_decay, config.decay_matrices_only};
  const AdamWOptions adamw{.lr = config.lr,
                           .beta1 = config.betas[0],
                           .beta2 = config.betas[1],
                           .eps = config.eps,
                           .weight_decay = config.weight_decay};
  if (config.name == "adamw") return std::make_unique<AdamW>(module, adamw, decay.matrices_only);
  if (config.name == "muon") return std::make_unique<Muon>(module, adamw, decay.matrices_only);
  if (config.name == "sgd") return std::make_unique<Sgd>(module, decay);
  if (config.name == "lion") return std::make_unique<Lion>(module, decay);
  throw_error<UsageError>("train.optimizer.name: {} is unknown, choose adamw, sgd, lion or muon",
                          config.name);
}

}  // namespace vitral::train
