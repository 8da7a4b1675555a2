#include "models/hugging_face.h"

#include <charconv>
#include <cmath>
#include <vector>

#include "autograd/ops.h"

namespace vitral::models {

std::string HuggingFaceConfig::text(const std::string& name, const std::string& otherwise) const {
  for (const std::string& full : {group_ + "." + name, name})
    if (const auto found = values_.find(full); found != values_.end()) return found->second;
  return otherwise;
}

double HuggingFaceConfig::number(const std::string& name, double otherwise) const {
  const std::string given = text(name, "");
  if (given.empty()) return otherwise;
  double value = 0;
  const auto [end, problem] = std::from_chars(given.data(), given.data() + given.size(), value);
  VITRAL_CHECK(problem == std::errc{} && end == given.data() + given.size() && std::isfinite(value),
               "{}: config.json: {} must be a number", where_, name);
  return value;
}

int HuggingFaceConfig::positive(const std::string& name, int otherwise) const {
  const double value = number(name, otherwise);
  VITRAL_CHECK(value >= 1 && value < 1 << 30 && value == std::floor(value),
               "{}: config.json: {} must be a whole number > 0", where_, name);
  return static_cast<int>(value);
}

nn::Activation HuggingFaceConfig::activation(const std::string& otherwise) const {
  const std::string name = text("hidden_act", otherwise);
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return nn::Activation::gelu;
  if (name == "gelu") return nn::Activation::gelu_erf;
  VITRAL_CHECK(name == "quick_gelu",
               "{}: config.json: hidden_act is none of gelu_pytorch_tanh, gelu_new, gelu and quick_gelu",
               where_);
  return nn::Activation::quick_gelu;
}

data::NamedTensors renamed(const data::NamedTensors& tensors, std::span<const Renaming> names,
                           const std::string& where) {
  data::NamedTensors out;
  std::map<std::string, std::map<char, Tensor>> stacks;  // by the name of the whole: the parts q, k, v
  for (const auto& [theirs, tensor] : tensors) {
    std::string name = theirs;
    for (const auto& [from, to] : names)
      if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
    const std::size_t at = name.find(".attn.");
    constexpr std::size_t prefix = 6;  // of ".attn."
    if (at != std::string::npos && name.size() > at + prefix + 1 && name[at + prefix + 1] == '.') {
      const char part = name[at + prefix];
      name.replace(at + prefix, 2, "in_proj_");
      stacks[name][part] = tensor;
    } else {
      out.emplace_back(std::move(name), tensor);
    }
  }
  for (const auto& [name, parts] : stacks) {
    std::vector<Variable> rows;
    for (const char part : {'q', 'k', 'v'}) {
      const auto found = parts.find(part);
      VITRAL_CHECK(found != parts.end(), "{}: has no part {} of '{}'; the file is incomplete", where, part,
                   name);
      rows.emplace_back(found->second.cast(DType::float32));
      VITRAL_CHECK(rows.back().shape() == rows.front().shape(),
                   "{}: the parts of '{}' have the shapes {} and {}; they must have one", where, name,
                   rows.front().shape(), rows.back().shape());
    }
    out.emplace_back(name, concat(rows, 0).value());
  }
  return out;
}

const Tensor& required_weights(const data::NamedTensors& tensors, std::string_view name, int rank,
                               std::string_view tower, const std::string& where) {
  for (const auto& [n, tensor] : tensors) {
    if (n != name) continue;
    VITRAL_CHECK(tensor.rank() == rank && tensor.numel() > 0,
                 "{}: weights '{}' {} are not those of a {} tower", where, name, tensor.shape(), tower);
    return tensor;
  }
  throw_error<UsageError>("{}: holds no {} tower: it has no weights '{}'", where, tower, name);
}

int count_layers(const data::NamedTensors& tensors, std::string_view tower, const std::string& where) {
  int layers = 0;
  const auto there = [&](int layer) {
    const std::string name = fmt::format("transformer.resblocks.{}.ln_1.weight", layer);
    for (const auto& entry : tensors)
      if (entry.first == name) return true;
    return false;
  };
  while (there(layers)) ++layers;
  VITRAL_CHECK(layers > 0, "{}: holds no {} tower: it has no layers", where, tower);
  return layers;
}

int square_side(std::int64_t count, std::string_view tower, const std::string& where) {
  const std::int64_t side = std::llround(std::sqrt(static_cast<double>(count)));
  VITRAL_CHECK(side > 0 && side < 1 << 14 && side * side == count,
               "{}: the {} tower has {} positions, which make no square", where, tower, count);
  return static_cast<int>(side);
}

}  // namespace vitral::models
