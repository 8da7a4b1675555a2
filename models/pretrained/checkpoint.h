// A pretrained model as people have it: its weights, and what the files beside them say of it.
#pragma once
#include <string>

#include "data/weights/safetensors.h"
#include "models/pretrained/preprocessing.h"
#include "models/towers.h"

namespace vitral::models {

struct Checkpoint {
  std::string path;    // as it was given
  std::string file;    // the weights that were read
  std::string folder;  // where the other files lie
  /// Where the vocabulary lies: that folder, but of a checkpoint of a training the folder of its run.
  std::string vocabulary;
  data::NamedTensors tensors;
  /// The numbers, texts and booleans of the configuration under dotted names, those of a tower that was saved
  /// alone under the tower's: "vision_config.num_attention_heads" = "12". Also the metadata of the weights.
  Metadata config;
  std::string model_type;  // of config.json ("clip", "siglip_vision_model", ...); "open_clip"; "": none
  Preprocessing preprocessing;
  std::string text_problem;  // what of the text tower, by the configuration, no tower here does; "": nothing
};

/// Weights as data::read_weights() finds them (data::OtherTypes::leave_out), and in the folder that is given
/// or in that of the file:
///   config.json               of transformers
///   open_clip_config.json     of tensors with OpenAI's names, instead: brought to the names of config.json
///   processor_config.json, preprocessor_config.json; open_clip's preprocess_cfg
/// A CLIP that vitral trained has its configuration in the metadata of its weights (models/clip/config.h),
/// which is brought to the names of config.json as well. What trainers and composite models put before names
/// ("module.", "_orig_mod.", "model.", "clip.", "text.") is left out. UsageError for an architecture of
/// open_clip whose image tower is no plain vision transformer, and for two tensors whose names differ by such
/// prefixes alone. Where only open_clip's text tower is another one, images can be embedded all the same.
Checkpoint read_checkpoint(const std::string& path, data::TensorMemory memory = data::TensorMemory::own);

}  // namespace vitral::models
