// What the families of towers share that transformers saves: its configuration and its names of weights.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "data/weights/safetensors.h"
#include "models/towers.h"

namespace vitral::models {

/// The numbers and texts of a config.json, flattened ("vision_config.hidden_size" = "768"), seen from one
/// tower: its own group counts first, then the top, where a tower that was saved alone has them.
class HuggingFaceConfig {
 public:
  HuggingFaceConfig(const Metadata& values, std::string group, std::string where)
      : values_(values), group_(std::move(group)), where_(std::move(where)) {}

  /// UsageError where it is no whole number > 0.
  int positive(const std::string& name, int otherwise) const;
  double number(const std::string& name, double otherwise) const;
  std::string text(const std::string& name, const std::string& otherwise) const;
  /// Whether transformers wrote it, which leaves out what has its default.
  bool complete() const;
  /// `hidden_act`, the kind of MLP (nn/mlp.h). UsageError: one that vitral does not have.
  std::string activation(const std::string& otherwise) const;

 private:
  const Metadata& values_;
  std::string group_, where_;
};

/// A part of a name and what stands for it in ours.
using Renaming = std::pair<std::string_view, std::string_view>;

/// Tensors under our names: every row's first text is replaced by its second, in the order of the rows. What
/// is then called "NAME.attn.q.weight", "...k..." and "...v..." is stacked to "NAME.attn.in_proj_weight",
/// biases alike. UsageError naming `where`: one of the three is missing or of another shape.
data::NamedTensors renamed(const data::NamedTensors& tensors, std::span<const Renaming> names,
                           const std::string& where);

/// The tensors of one tower of transformers' CLIP, or of a model that copies its names as SigLIP does, under
/// the names of its module. prefix: "vision_model." or "text_model."; a tower that transformers 5 saved alone
/// has none. Projections, which stand outside of the towers, are not among them.
data::NamedTensors clip_like_part(const data::NamedTensors& tensors, std::string_view prefix,
                                  const std::string& where);

/// Back: the state of a tower's module under the names of transformers.
data::NamedTensors as_clip_like_part(const data::NamedTensors& state, std::string_view prefix);

/// The tensor of that name and rank. UsageError naming `where` and `tower`: it is not there.
const Tensor& required_weights(const data::NamedTensors& tensors, std::string_view name, int rank,
                               std::string_view tower, const std::string& where);

/// The blocks of a tower: heads, activation and eps as the configuration says, else those of `usual`, but
/// width / 64 heads where there is no complete configuration; the width, and the MLP's, from the tensors.
/// UsageError naming `where`: a configuration of another width, heads that do not divide the width.
nn::BlockConfig block_config(const data::NamedTensors& tensors, const HuggingFaceConfig& config,
                             std::int64_t width, const nn::BlockConfig& usual, std::string_view tower,
                             const std::string& where);

/// How many of transformer.resblocks.0, .1, ... there are. UsageError: none.
int count_layers(const data::NamedTensors& tensors, std::string_view tower, const std::string& where);

/// The side of a square of `count` positions. UsageError: it is no square.
int square_side(std::int64_t count, std::string_view tower, const std::string& where);

/// Of a configuration and the tensors that it was made from.
template <typename Tower, typename Config>
std::unique_ptr<Tower> tower_of(const Config& config, const data::NamedTensors& tensors,
                                const std::string& where) {
  const nn::NoInit no_init;
  auto tower = std::make_unique<Tower>(config);
  tower->share_state(tensors, where);
  return tower;
}

}  // namespace vitral::models
