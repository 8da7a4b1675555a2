// The student's configuration: its fields, from whose table the YAML under `model:`, the metadata of weights,
// the flags that override it, the checks, `vitral info` and the documentation are made.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fields.h"

namespace vitral::models {

struct StudentConfig {
  int image_size = 224;
  int patch_size = 28;
  int width = 512;  // W, the width of the embeddings
  int layers = 6;
  int heads = 16;
  OneOrEach<std::string> attention = "neighbourhood";  // or "full"; of all layers, or of each
  OneOrEach<int> window = 3;                           // of neighbourhood attention, odd
  bool same_norm = true;
  OneOrEach<int> dilation = 1;          // of neighbourhood attention: places from neighbour to neighbour
  int registers = 0;                    // R, learned tokens beside the patches
  std::string position = "learned";     // or "rope" or "none": how a token knows its place
  std::string mlp = "quick_gelu";       // or "gelu", "swiglu"
  double mlp_ratio = 4;                 // width of its hidden layer / W', see nn/mlp.h
  std::string norm = "layer_norm";      // or "rms_norm": ln_pre, ln_1 and ln_2
  std::string last_block = "residual";  // or "attention": x = attn(ln_1(x)) alone
  std::string head = "convex";          // or "query", "mean" (models/student/head.h)
  double drop_path = 0;                 // stochastic depth in training: the rate of the last layer

  int grid() const { return image_size / patch_size; }
  int tokens() const { return grid() * grid(); }
  /// What the head needs beside the embeddings (models/student/head.h).
  int extra_width() const { return head == "convex" ? heads : 0; }
  int internal_width() const { return width + extra_width(); }  // W'
  bool operator==(const StudentConfig&) const = default;
};

/// A new key is a member above, a row here and one in docs/config.md.
const std::vector<Field<StudentConfig>>& student_fields();

/// Fields that do not fit each other.
std::optional<Conflict> find_conflict(const StudentConfig& config);
/// UsageError where a field is out of its range or two do not fit each other.
void check(const StudentConfig& config);

/// The configuration as text (model.width = "512", ...) for the metadata of a weights file, without what was
/// added later and has its default, and back (from_metadata() in base/fields.h): nothing where there is none
/// of it.
std::map<std::string, std::string> to_metadata(const StudentConfig& config);
/// The same with all fields.
std::map<std::string, std::string> to_texts(const StudentConfig& config);
std::optional<StudentConfig> student_config_from_metadata(const std::map<std::string, std::string>& metadata,
                                                          const std::string& where);

}  // namespace vitral::models
