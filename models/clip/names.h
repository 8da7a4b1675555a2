// CLIP's towers in the tensors of a checkpoint, by name: OpenAI's and open_clip's names are those of the
// modules, those of transformers are brought to them.
#pragma once
#include <string>

#include "data/weights/safetensors.h"
#include "models/towers.h"

namespace vitral::models {

/// The tensors of the image tower (OpenAI's "visual.", also without it where the tower stands alone;
/// "vision_model." and "visual_projection") or of the text tower, under the names of the modules; empty where
/// there are none. UsageError naming `where`: a part of q, k, v is missing.
data::NamedTensors clip_image_part(const data::NamedTensors& tensors, const std::string& where);
data::NamedTensors clip_text_part(const data::NamedTensors& tensors, const std::string& where);

/// Back: the states of both towers under the names of transformers' CLIPModel.
data::NamedTensors clip_in_transformers(const data::NamedTensors& image, const data::NamedTensors& text);

/// Whether these are the names of a CLIP, of either tower.
bool has_clip_names(const data::NamedTensors& tensors);

}  // namespace vitral::models
