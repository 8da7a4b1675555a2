// The families of teachers: a row each in families.cpp, and a folder under models/ with its towers.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "data/text/text_tokenizer.h"
#include "models/pretrained/checkpoint.h"
#include "models/towers.h"

namespace vitral::models {

struct Family {
  std::string_view name;                          // as people write it: "SigLIP"
  std::span<const std::string_view> model_types;  // of transformers' config.json
  /// Whether these are its weights, by their names, where no configuration says it.
  bool (*has_names)(const data::NamedTensors& tensors);
  /// size: pixels a side of the images, where the tower can choose; 0: those that it was trained on.
  std::unique_ptr<ImageTower> (*image)(const data::NamedTensors& tensors, const Metadata& config,
                                       const std::string& where, int size);
  /// Null where texts do not share the space of images, or have a tower that vitral does not have.
  std::unique_ptr<TextTower> (*text)(const data::NamedTensors& tensors, const Metadata& config,
                                     const std::string& where);
  /// place: the tokeniser's file, or a folder that holds it. Null as `text` is.
  std::unique_ptr<data::TextTokenizer> (*tokenizer)(const std::string& place);
  Preprocessing preprocessing;  // of its images, where no file says another
  std::string_view usual;       // whose heads and activation are taken where no file says them
};

/// That of the configuration's model_type, else of the names. UsageError: another model_type, with those that
/// are known, or weights of no family.
const Family& family_of(const Checkpoint& checkpoint);

/// Its text tower; config: that of the checkpoint, with what the caller chose. UsageError where the family
/// has none, or the configuration asks for another one.
std::unique_ptr<TextTower> text_tower_of(const Family& family, const Checkpoint& checkpoint,
                                         const Metadata& config);

}  // namespace vitral::models
