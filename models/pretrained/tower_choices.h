// What the files of a pretrained model leave open, and who says it then.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "data/weights/safetensors.h"
#include "models/towers.h"

namespace vitral::models {

/// What a caller knows better than the files.
struct TowerChoices {
  static const std::vector<std::string>& activations();  // quick_gelu, gelu, gelu_pytorch_tanh

  int heads = 0;                // 0: what the configuration says, else width / 64
  std::string activation = {};  // as `hidden_act`; "": what the configuration says, else as the family has it
};

/// `config` with what the caller chose for the tower of `group` ("vision_config", "text_config").
Metadata with_choices(Metadata config, const std::string& group, const TowerChoices& choices);

/// What neither `config` nor OpenAI's archives say, and where it was taken from: "as in OpenAI's models: 12
/// heads (width / 64) and quick_gelu"; "": nothing. usual: the models that the family takes after; taken:
/// what the tower has.
std::string guessed_of(const data::NamedTensors& tensors, const Metadata& config, const std::string& group,
                       std::string_view usual, const nn::BlockConfig& taken);

/// "CLIP, 12 heads, quick_gelu".
std::string describe(std::string_view family, const nn::BlockConfig& block);

}  // namespace vitral::models
