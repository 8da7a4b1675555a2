#include "models/student/config.h"

#include "base/field_kinds.h"

namespace vitral::models {

const std::vector<Field<StudentConfig>>& student_fields() {
  using namespace fields;
#define FIELD(...) VITRAL_FIELD(StudentConfig, __VA_ARGS__)
  static const std::vector<Field<StudentConfig>> table{
      FIELD(image_size, Integer{1, 8192}),
      FIELD(patch_size, Integer{1, 8192}),
      FIELD(width, Integer{1, 65536}),
      FIELD(layers, Integer{1, 1024}),
      FIELD(heads, Integer{1, 65536}),
      FIELD(attention, Choice{{"neighbourhood", "full"}}, "neighbourhood or full"),
      FIELD(window, Integer{.min = 1, .max = 8191, .odd = true}, "patches a side of the neighbourhood, odd"),
      FIELD(same_norm, Truth{}, "true or false"),
  };
#undef FIELD
  return table;
}

std::optional<Conflict> find_conflict(const StudentConfig& c) {
  if (auto conflict = not_dividing("patch_size", c.patch_size, "image_size", c.image_size)) return conflict;
  return not_dividing("heads", c.heads, "width", c.width);
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

std::optional<StudentConfig> student_config_from_metadata(const std::map<std::string, std::string>& metadata,
                                                          const std::string& where) {
  auto config = from_metadata(student_fields(), metadata, "model.", where);
  if (const auto conflict = config ? find_conflict(*config) : std::nullopt)
    throw_error("{}: metadata: {} {}", where, conflict->key, conflict->text);
  return config;
}

}  // namespace vitral::models
