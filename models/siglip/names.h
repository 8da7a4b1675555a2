// The names of SigLIP's weights as transformers saves them, and the sizes of its blocks.
#pragma once
#include <string>
#include <string_view>

#include "models/hugging_face.h"
#include "nn/block.h"

namespace vitral::models {

/// The tensors of one tower under the names of its module. prefix "vision_model." or "text_model."; a tower
/// that was saved alone by transformers 5 has none.
data::NamedTensors siglip_part(const data::NamedTensors& tensors, std::string_view prefix,
                               const std::string& where);

/// Heads, activation and eps as the configuration says, the rest from the tensors. UsageError naming `where`:
/// heads that do not divide the width.
nn::BlockConfig siglip_block(const data::NamedTensors& state, const HuggingFaceConfig& config,
                             std::int64_t width, std::string_view tower, const std::string& where);

}  // namespace vitral::models
