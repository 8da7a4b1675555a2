#include "nn/module.h"

#include <algorithm>
#include <map>

namespace vitral::nn {

std::vector<std::string> Module::names() const {
  std::vector<std::string> out;
  for (const auto& [name, parameter] : own_) out.push_back(name);
  for (const auto& [name, module] : children_) {
    if (!name.empty()) {
      out.push_back(name);
      continue;
    }
    const auto inner = module->names();
    out.insert(out.end(), inner.begin(), inner.end());
  }
  return out;
}

void Module::check_name(const char* what, const std::string& name) const {
  const auto taken = names();
  VITRAL_CHECK(std::find(taken.begin(), taken.end(), name) == taken.end(), "{}: '{}' is registered already",
               what, name);
}

Parameter& Module::parameter(std::string name, Tensor initial) {
  check_name("parameter", name);
  return own_.emplace_back(std::move(name), std::move(initial)).second;
}

Parameter& Module::linear_weight(std::string name, Tensor initial) {
  Parameter& weight = parameter(std::move(name), std::move(initial));
  linear_weights_.push_back(&weight);
  return weight;
}

void Module::collect(const std::string& prefix, std::vector<NamedParameter>& out) const {
  collect_own(prefix, out);
  collect_children(prefix, out);
}

void Module::collect_own(const std::string& prefix, std::vector<NamedParameter>& out) const {
  for (const auto& [name, module] : children_)
    if (name.empty()) module->collect_own(prefix, out);
  for (auto& [name, value] : own_) out.push_back({prefix + name, &value});
}

void Module::collect_children(const std::string& prefix, std::vector<NamedParameter>& out) const {
  for (const auto& [name, module] : children_)
    if (name.empty())
      module->collect_children(prefix, out);
    else
      module->collect(prefix + name + ".", out);
}

std::vector<NamedParameter> Module::parameters() const {
  std::vector<NamedParameter> out;
  collect("", out);
  return out;
}

std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& p : parameters()) count += p.value->value().numel();
  return count;
}

void Module::zero_grad() {
  for (const auto& p : parameters()) p.value->zero_grad();
}

void Module::to(Device device) {
  for (const auto& p : parameters()) p.value->replace(Variable(p.value->value().to(device), true));
}

void Module::to(DType dtype) {
  for (const auto& p : parameters()) p.value->replace(Variable(p.value->value().cast(dtype), true));
}

void Module::keep_copies(DType dtype) {
  for (const auto& p : parameters()) p.value->keep_copy(dtype);
}

void Module::pack_weights() {
  for (Parameter* weight : linear_weights_) weight->pack();
  for (const auto& child : children_) child.second->pack_weights();
}

std::vector<std::pair<std::string, Tensor>> Module::state() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& p : parameters()) out.emplace_back(p.name, p.value->value());
  return out;
}

// Each parameter with the tensor of its name.
std::vector<std::pair<NamedParameter, Tensor>> Module::matched(
    const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where) const {
  std::map<std::string, const Tensor*> given;
  for (const auto& [name, tensor] : state) given[name] = &tensor;
  std::vector<std::pair<NamedParameter, Tensor>> out;
  for (const auto& p : parameters()) {
    const auto found = given.find(p.name);
    VITRAL_CHECK(found != given.end(), "{}: has no weights '{}'; it belongs to another architecture", where,
                 p.name);
    VITRAL_CHECK(found->second->shape() == p.value->shape(),
                 "{}: weights '{}' have shape {}, this model needs {}; it belongs to another architecture",
                 where, p.name, found->second->shape(), p.value->shape());
    out.emplace_back(p, *found->second);
    given.erase(found);
  }
  VITRAL_CHECK(given.empty(),
               "{}: has weights '{}' that this model does not know; it belongs to another architecture",
               where, given.begin()->first);
  return out;
}

void Module::load_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where) {
  for (const auto& [p, tensor] : matched(state, where)) p.value->copy_from(tensor);
}

void Module::share_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where) {
  for (const auto& [p, tensor] : matched(state, where))
    p.value->replace(Variable(tensor.to(cpu).cast(p.value->dtype()), true));
}

std::string Module::describe() const {
  std::string out;
  for (const auto& p : parameters())
    out += fmt::format("{:<44} {:>20} {:>12}\n", p.name, p.value->shape().str(), p.value->value().numel());
  return out + fmt::format("{:<44} {:>20} {:>12}\n", "total", "", parameter_count());
}

}  // namespace vitral::nn
