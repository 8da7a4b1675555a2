#include "train/adamw.h"

#include <cmath>
#include <map>

#include "tensor/reduce.h"

namespace vitral::train {

AdamW::AdamW(const nn::Module& module, const AdamWOptions& options) : options_(options) {
  for (const auto& p : module.parameters()) entries_.push_back({p, {}, {}, 0});
}

void AdamW::step(double lr, double gradient_scale) {
  AdamWOptions options = options_;
  options.lr = lr;
  for (auto& e : entries_) {
    const Tensor& grad = e.parameter.value->grad();
    if (!grad.defined()) continue;
    Tensor value = e.parameter.value->value();
    if (!e.exp_avg.defined()) {
      e.exp_avg = Tensor::zeros(value.shape(), value.dtype(), value.device());
      e.exp_avg_sq = Tensor::zeros(value.shape(), value.dtype(), value.device());
    }
    kernel::adamw(value, e.exp_avg, e.exp_avg_sq, grad, options, ++e.step, gradient_scale);
  }
}

std::vector<std::pair<std::string, Tensor>> AdamW::state() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& e : entries_) {
    if (!e.exp_avg.defined()) continue;
    out.emplace_back(e.parameter.name + ".exp_avg", e.exp_avg);
    out.emplace_back(e.parameter.name + ".exp_avg_sq", e.exp_avg_sq);
    out.emplace_back(e.parameter.name + ".step", Tensor::from(std::vector<std::int64_t>{e.step}, {1}));
  }
  return out;
}

void AdamW::load_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where) {
  std::map<std::string, Tensor> given(state.begin(), state.end());
  std::vector<Entry> entries = entries_;
  std::size_t used = 0;
  for (auto& e : entries) {
    const std::string& name = e.parameter.name;
    const auto m = given.find(name + ".exp_avg"), v = given.find(name + ".exp_avg_sq"),
               t = given.find(name + ".step");
    e.exp_avg = e.exp_avg_sq = {};
    e.step = 0;
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
    e.exp_avg = m->second.clone().to(value.device());
    e.exp_avg_sq = v->second.clone().to(value.device());
    e.step = *t->second.data<std::int64_t>();
    used += 3;
  }
  VITRAL_CHECK(
      used == given.size(),
      "{}: has optimiser state of weights that this model does not know; it belongs to another architecture",
      where);
  entries_ = std::move(entries);
}

double gradient_norm(const nn::Module& module) {
  Tensor total;
  for (const auto& p : module.parameters()) {
    const Tensor& grad = p.value->grad();
    if (!grad.defined()) continue;
    if (!total.defined()) total = Tensor::zeros({1}, DType::float64, grad.device());
    kernel::add_sum_of_squares(total, grad);
  }
  return total.defined() ? std::sqrt(total.item()) : 0;
}

}  // namespace vitral::train
