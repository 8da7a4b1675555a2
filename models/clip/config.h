// The configuration of a CLIP that is trained: its fields, from whose table the YAML under `model:`, the
// metadata of weights, the checks, `vitral info` and the documentation are made.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fields.h"

namespace vitral::models {

/// MLPs are four times as wide, with QuickGELU.
struct ClipTowerShape {
  int width = 512;  // W
  int layers = 12;
  int heads = 8;

  bool operator==(const ClipTowerShape&) const = default;
};

struct ClipTextShape : ClipTowerShape {
  int context = 77;               // L, with the tokens that begin and end a text
  std::string vocabulary;         // the file or folder of the tokeniser
  int vocabulary_size = 0;        // tokens of it; 0: not known yet
  std::string vocabulary_digest;  // data::digest() of it; "": not known

  bool operator==(const ClipTextShape&) const = default;
};

/// The defaults are those of ViT-B/32.
struct ClipConfig {
  int image_size = 224;
  int patch_size = 32;
  int width = 512;  // E, of the embeddings
  ClipTowerShape vision{.width = 768, .layers = 12, .heads = 12};
  ClipTextShape text;

  int grid() const { return image_size / patch_size; }
  int tokens() const { return grid() * grid(); }
  bool operator==(const ClipConfig&) const = default;
};

/// Those of the YAML: all but text.vocabulary_size and text.vocabulary_digest, which the vocabulary says.
const std::vector<Field<ClipConfig>>& clip_fields();

/// Fields that do not fit each other.
std::optional<Conflict> find_conflict(const ClipConfig& config);
/// UsageError where a field is out of its range or two do not fit each other.
void check(const ClipConfig& config);

/// The configuration as text (clip.width = "512", ...) for the metadata of a weights file, with
/// text.vocabulary_size and, where it is known, its digest instead of the path; and back: nothing where there
/// is none of it. Error naming `where`: values that are not valid.
std::map<std::string, std::string> to_metadata(const ClipConfig& config);
std::optional<ClipConfig> clip_config_from_metadata(const std::map<std::string, std::string>& metadata,
                                                    const std::string& where);

}  // namespace vitral::models
