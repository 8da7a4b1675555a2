// What the families of towers share that transformers saves: its configuration and its names of weights.
#pragma once
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "data/weights/safetensors.h"
#include "nn/mlp.h"

namespace vitral::models {

/// The numbers and texts of a config.json, flattened ("vision_config.hidden_size" = "768"), seen from one
/// tower: its own group counts first, then the top, where a tower that was saved alone has them.
class HuggingFaceConfig {
 public:
  HuggingFaceConfig(const std::map<std::string, std::string>& values, std::string group, std::string where)
      : values_(values), group_(std::move(group)), where_(std::move(where)) {}

  /// UsageError where it is no whole number > 0.
  int positive(const std::string& name, int otherwise) const;
  double number(const std::string& name, double otherwise) const;
  std::string text(const std::string& name, const std::string& otherwise) const;
  /// `hidden_act`. UsageError: one that vitral does not have.
  nn::Activation activation(const std::string& otherwise) const;

 private:
  const std::map<std::string, std::string>& values_;
  std::string group_, where_;
};

/// A part of a name and what stands for it in ours.
using Renaming = std::pair<std::string_view, std::string_view>;

/// Tensors under our names: every row's first text is replaced by its second, in the order of the rows. What
/// is then called "NAME.attn.q.weight", "...k..." and "...v..." is stacked to "NAME.attn.in_proj_weight",
/// biases alike. UsageError naming `where`: one of the three is missing or of another shape.
data::NamedTensors renamed(const data::NamedTensors& tensors, std::span<const Renaming> names,
                           const std::string& where);

/// The tensor of that name and rank. UsageError naming `where` and `tower`: it is not there.
const Tensor& required_weights(const data::NamedTensors& tensors, std::string_view name, int rank,
                               std::string_view tower, const std::string& where);

/// How many of transformer.resblocks.0, .1, ... there are. UsageError: none.
int count_layers(const data::NamedTensors& tensors, std::string_view tower, const std::string& where);

/// The side of a square of `count` positions. UsageError: it is no square.
int square_side(std::int64_t count, std::string_view tower, const std::string& where);

}  // namespace vitral::models
