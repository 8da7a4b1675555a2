// Which algorithms products take, for tests.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "tensor/backend.h"
#include "tensor/ops/products.h"

namespace vitral::test {

/// Choices in memory.
class Choices : public ProductChoices {
 public:
  explicit Choices(Device device = {Device::Kind::cuda, 0}, bool measures = true)
      : multiplier_(backend(Device::Kind::cuda).multiplier(device.index)), measures_(measures) {}
  const std::string& multiplier() const override { return multiplier_; }
  std::string where(const ProductKey&) const override { return "choices:7"; }
  std::optional<ProductAlgorithm> find(const ProductKey& key) override {
    const auto it = all.find(key);
    return it == all.end() ? std::nullopt : std::optional(it->second.algorithm);
  }
  bool measures() const override { return measures_; }
  ProductAlgorithm add(const ProductChoice& choice) override {
    return all.emplace(choice.key, choice).first->second.algorithm;
  }

  std::map<ProductKey, ProductChoice> all;

 private:
  std::string multiplier_;
  bool measures_;
};

inline std::shared_ptr<Choices> use(std::shared_ptr<Choices> choices) {
  set_product_choices(choices);
  return choices;
}

}  // namespace vitral::test
