#include "models/student/config.h"

#include "base/field_kinds.h"
#include "nn/mlp.h"

namespace vitral::models {

const std::vector<Field<StudentConfig>>& student_fields() {
  using namespace fields;
#define FIELD(...) VITRAL_FIELD(StudentConfig, __VA_ARGS__)
  static const std::vector<Field<StudentConfig>> table{
      FIELD(image_size, Integer{1, 8192},
            "pixels a side, which tensors do not tell without a positional embedding"),
      FIELD(patch_size, Integer{1, 8192}),
      FIELD(width, Integer{1, 65536}),
      FIELD(layers, Integer{1, 1024}),
      FIELD(heads, Integer{1, 65536}, "attention heads, which tensors do not tell without the convex head"),
      FIELD(attention, OneOrList{Choice{{"neighbourhood", "full"}}, "layer"},
            "neighbourhood or full, or a list of them with commas, one a layer"),
      FIELD(window, OneOrList{Integer{.min = 1, .max = 8191, .odd = true}, "layer"},
            "patches a side of the neighbourhood, odd, or a list"),
      added(FIELD(dilation, OneOrList{Integer{1, 8191}, "layer"},
                  "places from neighbour to neighbour, or a list")),
      added(FIELD(registers, Integer{0, 64})),
      added(FIELD(position, Choice{{"learned", "rope", "none"}}, "learned, rope or none")),
      FIELD(same_norm, Truth{}, "true or false"),
      added(FIELD(mlp, Choice{{"quick_gelu", "gelu", "swiglu"}}, "quick_gelu, gelu or swiglu")),
      added(FIELD(
          mlp_ratio,
          (Number{.text = "a number > 0, at most 1024", .max = 1024, .open_min = true, .open_max = false}))),
      added(FIELD(norm, Choice{{"layer_norm", "rms_norm"}}, "layer_norm or rms_norm")),
      added(FIELD(last_block, Choice{{"residual", "attention"}}, "residual or attention")),
      added(FIELD(head, Choice{{"convex", "query", "mean"}}, "convex, query or mean")),
      added(FIELD(drop_path, below_one())),
  };
#undef FIELD
  return table;
}

std::optional<Conflict> find_conflict(const StudentConfig& c) {
  if (auto conflict = not_dividing("patch_size", c.patch_size, "image_size", c.image_size)) return conflict;
  if (auto conflict = not_dividing("heads", c.heads, "width", c.width)) return conflict;
  for (const auto& conflict : {not_one_each("attention", c.attention, "layers", c.layers),
                               not_one_each("window", c.window, "layers", c.layers),
                               not_one_each("dilation", c.dilation, "layers", c.layers)})
    if (conflict) return conflict;
  // Two pairs at least, one for each direction.
  if (const int size = c.internal_width() / c.heads; c.position == "rope" && size < 4)
    return Conflict{
        "position", fmt::format("rope needs heads of 4 numbers, these have {}; take fewer heads", size),
        "heads", fmt::format("{} leaves heads of {} numbers, position rope needs 4", c.heads, size)};
  if (nn::hidden_width(c.internal_width(), c.mlp_ratio, c.mlp) > 0) return {};
  const std::string text = fmt::format("{} leaves the MLP no hidden layer at width {}", c.mlp_ratio, c.width);
  return Conflict{"mlp_ratio", text, "width",
                  fmt::format("{} leaves the MLP no hidden layer at mlp_ratio {}", c.width, c.mlp_ratio)};
}

void check(const StudentConfig& config) {
  try {
    check_values(student_fields(), config);
  } catch (const BadValue& bad) {
    throw_error<UsageError>("student: {}", bad.text);
  }
  if (const auto conflict = find_conflict(config))
    throw_error<UsageError>("student: {} {}", conflict->key, conflict->text);
}

std::map<std::string, std::string> to_metadata(const StudentConfig& config) {
  return to_metadata(student_fields(), config, "model.");
}

std::map<std::string, std::string> to_texts(const StudentConfig& config) {
  return to_texts(student_fields(), config, "model.");
}

std::optional<StudentConfig> student_config_from_metadata(const std::map<std::string, std::string>& metadata,
                                                          const std::string& where) {
  auto config = from_metadata(student_fields(), metadata, "model.", where);
  if (const auto conflict = config ? find_conflict(*config) : std::nullopt)
    throw_error("{}: metadata: {} {}", where, conflict->key, conflict->text);
  return config;
}

}  // namespace vitral::models
