#include "nn/module.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "tensor/ops/linear_int8.h"

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
  check_name("parameter", name);
  return own_
      .emplace_back(std::piecewise_construct, std::forward_as_tuple(std::move(name)),
                    std::forward_as_tuple(std::move(initial), true))
      .second;
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

namespace {

// The parameter takes these values, with the scales of int8 ones: on a device that does not multiply with
// int8 weights as floats.
void become(Parameter& p, const Tensor& value, const Tensor& scale, Device device) {
  if (!scale.defined())
    p.replace(Variable(value.to(device), true));
  else if (kernel::linear_int8.implemented(device.kind))
    p.replace(Variable(value.to(device)), scale.to(device));
  else
    p.replace(Variable(dequantize(value, scale).to(device), true));
}

}  // namespace

void Module::to(Device device) {
  for (const auto& p : parameters()) become(*p.value, p.value->value(), p.value->scale(), device);
}

void Module::to(DType dtype) {
  for (const auto& p : parameters()) {
    const Tensor& scale = p.value->scale();
    const Tensor floats = scale.defined() ? dequantize(p.value->value(), scale) : p.value->value();
    p.value->replace(Variable(floats.cast(dtype), true));
  }
}

void Module::keep_copies(DType dtype) {
  for (const auto& p : parameters()) p.value->keep_copy(dtype);
}

void Module::pack_weights() {
  for (const auto& p : parameters()) p.value->pack();
}

void Module::quantize_weights() {
  for (const auto& p : parameters()) {
    if (!p.value->multiplied() || p.value->scale().defined()) continue;
    QuantizedWeight weight = quantize(p.value->value());
    p.value->replace(Variable(std::move(weight.q)), std::move(weight.scale));
  }
}

std::vector<std::pair<std::string, Tensor>> Module::state() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& p : parameters()) {
    out.emplace_back(p.name, p.value->value());
    if (p.value->scale().defined()) out.emplace_back(p.name + int8_scale_suffix, p.value->scale());
  }
  return out;
}

namespace {

// The scales of int8 weights, or what is wrong with them.
Tensor checked_scale(const NamedParameter& p, const Tensor* scale, const std::string& where) {
  const auto damaged = [&](const std::string& what) {
    throw_error<UsageError>("{}: weights '{}' are int8, {}; convert the float32 weights again", where, p.name,
                            what);
  };
  const std::string name = p.name + int8_scale_suffix;
  if (!p.value->multiplied()) damaged("but only those that linear layers multiply with can be");
  if (!scale) damaged(fmt::format("but their scales '{}' are missing", name));
  const Shape shape{p.value->dim(0)};
  if (scale->dtype() != DType::float32 || scale->shape() != shape)
    damaged(
        fmt::format("but '{}' is {} {} instead of float32 {}", name, scale->dtype(), scale->shape(), shape));
  Tensor host = scale->to(cpu);
  for (std::int64_t o = 0; o < host.numel(); ++o)
    if (const float s = host.data<float>()[o]; !(s > 0) || !std::isfinite(s))
      damaged(fmt::format("but '{}' holds {} in row {}, where a scale is positive and finite", name, s, o));
  return host;
}

}  // namespace

// Each parameter with the tensor of its name.
std::vector<Module::Match> Module::matched(const std::vector<std::pair<std::string, Tensor>>& state,
                                           const std::string& where) const {
  std::map<std::string, const Tensor*> given;
  for (const auto& [name, tensor] : state) given[name] = &tensor;
  std::vector<Match> out;
  for (const auto& p : parameters()) {
    const auto found = given.find(p.name);
    VITRAL_CHECK(found != given.end(), "{}: has no weights '{}'; it belongs to another architecture", where,
                 p.name);
    VITRAL_CHECK(found->second->shape() == p.value->shape(),
                 "{}: weights '{}' have shape {}, this model needs {}; it belongs to another architecture",
                 where, p.name, found->second->shape(), p.value->shape());
    out.push_back({p, *found->second, {}});
    given.erase(found);
    if (out.back().value.dtype() != DType::int8) continue;
    const auto scale = given.find(p.name + int8_scale_suffix);
    out.back().scale = checked_scale(p, scale == given.end() ? nullptr : scale->second, where);
    given.erase(scale);
  }
  VITRAL_CHECK(given.empty(),
               "{}: has weights '{}' that this model does not know; it belongs to another architecture",
               where, given.begin()->first);
  return out;
}

void Module::load_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where) {
  for (const auto& [p, value, scale] : matched(state, where)) {
    Parameter& own = *p.value;
    if (scale.defined() || own.scale().defined())
      become(own, value.clone().cast(scale.defined() ? DType::int8 : DType::float32), scale.clone(),
             own.device());
    else
      own.copy_from(value);
  }
}

void Module::share_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where) {
  for (const auto& [p, value, scale] : matched(state, where)) {
    const DType dtype = scale.defined() || !p.value->scale().defined() ? p.value->dtype() : DType::float32;
    become(*p.value, scale.defined() ? value : value.to(cpu).cast(dtype), scale, cpu);
  }
}

std::string Module::describe() const {
  std::string out;
  for (const auto& p : parameters())
    out += fmt::format("{:<44} {:>20} {:>12}\n", p.name, p.value->shape().str(), p.value->value().numel());
  return out + fmt::format("{:<44} {:>20} {:>12}\n", "total", "", parameter_count());
}

}  // namespace vitral::nn
