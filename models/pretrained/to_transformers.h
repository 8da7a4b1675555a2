// A CLIP as transformers keeps it in a folder, from any checkpoint that vitral reads.
#pragma once
#include <string>

#include "models/pretrained/checkpoint.h"
#include "models/pretrained/tower_choices.h"

namespace vitral::models {

struct TransformersClip {
  data::NamedTensors tensors;  // of model.safetensors: those of CLIPModel by name, of the types that they had
  std::string config;          // of config.json
  std::string preprocessor;    // of preprocessor_config.json
  TextTowerConfig text;        // what the vocabulary must fit
  /// What neither the files nor the caller said, of either tower (models/pretrained/tower_choices.h).
  std::string image_guessed, text_guessed;
};

/// UsageError naming the checkpoint: no CLIP, not both of its towers, towers of different widths, no
/// logit_scale, images that are to be prepared as no processor here does it.
TransformersClip to_transformers(const Checkpoint& checkpoint, const TowerChoices& image = {},
                                 const TowerChoices& text = {});

}  // namespace vitral::models
