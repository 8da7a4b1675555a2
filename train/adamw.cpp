#include "train/adamw.h"

#include <map>

namespace vitral::train {

AdamW::AdamW(const nn::Module& module, const AdamWOptions& options) : options_(options) {
  for (const auto& p : module.parameters()) entries_.push_back({p, {}, {}});
  const Device device = entries_.empty() ? cpu : entries_.front().parameter.value->device();
  control_ = Tensor::zeros({update_slots}, DType::float64, device);
  steps_ = Tensor::zeros({static_cast<std::int64_t>(entries_.size())}, DType::int64, device);
}

void AdamW::step(double lr) {
  this->lr().fill(lr);
  begin();
  update();
}

void AdamW::begin() { control_.rows(update_loss, update_slots).fill(0); }

void AdamW::add_loss(const Tensor& loss, double weight) { kernel::add_loss(control_, loss, weight); }

void AdamW::update(const UpdateOptions& options) {
  std::vector<AdamWItem> items;
  std::vector<Tensor> gradients;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Entry& e = entries_[i];
    const Tensor& grad = e.parameter.value->grad();
    if (!grad.defined()) continue;
    const auto [value, copy] = e.parameter.value->write();
    if (!e.exp_avg.defined()) {
      e.exp_avg = Tensor::zeros(value.shape(), value.dtype(), value.device());
      e.exp_avg_sq = Tensor::zeros(value.shape(), value.dtype(), value.device());
    }
    items.push_back({.p = value,
                     .m = e.exp_avg,
                     .v = e.exp_avg_sq,
                     .g = grad,
                     .average = options.average.empty() ? Tensor() : options.average[i],
                     .copy = copy,
                     .slot = static_cast<std::int64_t>(i)});
    gradients.push_back(grad);
  }
  kernel::sum_of_squares(control_, gradients);
  kernel::begin_update(control_, steps_, items, options.clip_norm);
  kernel::adamw(items, control_, steps_, options_, options.average_weight);
}

std::vector<std::pair<std::string, Tensor>> AdamW::state() const {
  std::vector<std::pair<std::string, Tensor>> out;
  const Tensor steps = steps_.to(cpu);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& e = entries_[i];
    if (!e.exp_avg.defined()) continue;
    out.emplace_back(e.parameter.name + ".exp_avg", e.exp_avg);
    out.emplace_back(e.parameter.name + ".exp_avg_sq", e.exp_avg_sq);
    out.emplace_back(e.parameter.name + ".step",
                     Tensor::from(std::vector<std::int64_t>{steps.data<std::int64_t>()[i]}, {1}));
  }
  return out;
}

void AdamW::load_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where) {
  std::map<std::string, Tensor> given(state.begin(), state.end());
  std::vector<Entry> entries = entries_;
  Tensor steps = Tensor::zeros(steps_.shape(), DType::int64);
  std::size_t used = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Entry& e = entries[i];
    const std::string& name = e.parameter.name;
    const auto m = given.find(name + ".exp_avg"), v = given.find(name + ".exp_avg_sq"),
               t = given.find(name + ".step");
    e.exp_avg = e.exp_avg_sq = {};
    if (m == given.end() && v == given.end() && t == given.end()) continue;
    const Tensor& value = e.parameter.value->value();
    const auto fits = [&](auto found, const Shape& shape, DType dtype) {
      return found != given.end() && found->second.shape() == shape && found->second.dtype() == dtype;
    };
    VITRAL_CHECK(
        fits(m, value.shape(), value.dtype()) && fits(v, value.shape(), value.dtype()) &&
            fits(t, {1}, DType::int64),
        "{}: optimiser state of '{}' does not fit its weights {}; it belongs to another architecture", where,
        name, value.shape());
    e.exp_avg = m->second.to(value.device()).clone();
    e.exp_avg_sq = v->second.to(value.device()).clone();
    steps.data<std::int64_t>()[i] = *t->second.data<std::int64_t>();
    used += 3;
  }
  VITRAL_CHECK(
      used == given.size(),
      "{}: has optimiser state of weights that this model does not know; it belongs to another architecture",
      where);
  entries_ = std::move(entries);
  steps_.copy_from(steps);
}

}  // namespace vitral::train
