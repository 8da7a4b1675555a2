// CLIP's weights, from any of the places where people have them.
#pragma once
#include <string>

#include "data/weights/safetensors.h"

namespace vitral::models {

/// As read_weights(): a .safetensors file, a .pt or .bin file of torch.save, OpenAI's TorchScript archive, or
/// a Hugging Face folder (model.safetensors or pytorch_model.bin). The metadata also hold what the files
/// beside the weights say, in the folder that is given or in that of the file:
///   config.json           its numbers, texts and booleans under dotted names, those of a tower that stands
///                         alone under the tower's: "vision_config.num_attention_heads" = "12"
///   open_clip_config.json of tensors with OpenAI's names, instead: brought to the same names
///   image_mean.0, image_std.0, ...  of preprocessor_config.json, or of open_clip's preprocess_cfg
/// activation: "quick_gelu" or "gelu", whatever the files say; "": what they say.
/// UsageError for an architecture of open_clip that is no plain vision transformer.
data::WeightsFile read_clip_weights(const std::string& path,
                                    data::TensorMemory memory = data::TensorMemory::own,
                                    const std::string& activation = "");

}  // namespace vitral::models
