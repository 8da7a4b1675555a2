// CLIP's weights, from any of the places where people have them.
#pragma once
#include <string>

#include "data/weights/safetensors.h"

namespace vitral::models {

/// As read_weights(): a .safetensors file, a .pt or .bin file of torch.save, OpenAI's TorchScript archive, or
/// a Hugging Face folder (model.safetensors or pytorch_model.bin). Of a folder with config.json the metadata
/// also holds its numbers, texts and booleans under dotted names: "vision_config.num_attention_heads" = "12".
data::WeightsFile read_clip_weights(const std::string& path,
                                    data::TensorMemory memory = data::TensorMemory::own);

}  // namespace vitral::models
