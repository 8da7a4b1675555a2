#include "models/pretrained/tower_choices.h"

#include <algorithm>

#include "models/hugging_face.h"

namespace vitral::models {

const std::vector<std::string>& TowerChoices::activations() {
  static const std::vector<std::string> names{"quick_gelu", "gelu", "gelu_pytorch_tanh"};
  return names;
}

Metadata with_choices(Metadata config, const std::string& group, const TowerChoices& choices) {
  if (choices.heads > 0) config[group + ".num_attention_heads"] = std::to_string(choices.heads);
  if (!choices.activation.empty()) config[group + ".hidden_act"] = choices.activation;
  return config;
}

std::string guessed_of(const data::NamedTensors& tensors, const Metadata& config, const std::string& group,
                       std::string_view usual, const nn::BlockConfig& taken) {
  // OpenAI's archives carry numbers that others leave out, and all have the same heads and activation.
  if (std::ranges::any_of(tensors, [](const auto& entry) { return entry.first == "input_resolution"; }))
    return "";
  const HuggingFaceConfig said(config, group, "");
  if (said.complete()) return "";
  std::string out;
  if (said.text("num_attention_heads", "").empty()) out = fmt::format("{} heads (width / 64)", taken.heads);
  if (said.text("hidden_act", "").empty()) out += (out.empty() ? "" : " and ") + taken.mlp;
  return out.empty() ? "" : fmt::format("as in {}: {}", usual, out);
}

std::string describe(std::string_view family, const nn::BlockConfig& block) {
  return fmt::format("{}, {} heads, {}", family, block.heads, block.mlp);
}

}  // namespace vitral::models
