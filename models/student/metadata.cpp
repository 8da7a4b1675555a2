// The student's configuration: how its sizes must fit, and as text for the metadata of a weights file.
#include <charconv>

#include "models/student/student.h"

namespace vitral::models {
namespace {

// Calls f(key, member) for every field: the one place that names them.
template <class Config, class F>
void for_fields(Config& c, F&& f) {
  f("model.image_size", c.image_size);
  f("model.patch_size", c.patch_size);
  f("model.width", c.width);
  f("model.layers", c.layers);
  f("model.heads", c.heads);
  f("model.attention", c.attention);
  f("model.window", c.window);
  f("model.same_norm", c.same_norm);
}

std::string text(int value) { return std::to_string(value); }
std::string text(bool value) { return value ? "true" : "false"; }
std::string text(const std::string& value) { return value; }

bool parse(const std::string& value, int& out) {
  const auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), out);
  return problem == std::errc{} && end == value.data() + value.size();
}
bool parse(const std::string& value, bool& out) {
  out = value == "true";
  return value == "true" || value == "false";
}
bool parse(const std::string& value, std::string& out) {
  out = value;
  return true;
}

}  // namespace

void check(const StudentConfig& c) {
  VITRAL_CHECK(c.image_size > 0 && c.patch_size > 0 && c.width > 0 && c.layers > 0 && c.heads > 0,
               "student: image_size {}, patch_size {}, width {}, layers {} and heads {} must be positive",
               c.image_size, c.patch_size, c.width, c.layers, c.heads);
  VITRAL_CHECK(c.image_size % c.patch_size == 0, "student: patch_size {} must divide image_size {}",
               c.patch_size, c.image_size);
  VITRAL_CHECK(c.width % c.heads == 0, "student: heads {} must divide width {}", c.heads, c.width);
  VITRAL_CHECK(c.attention == "neighbourhood" || c.attention == "full",
               "student: attention '{}' is unknown, choose neighbourhood or full", c.attention);
  VITRAL_CHECK(c.attention == "full" || (c.window > 0 && c.window % 2 == 1),
               "student: window {} must be odd and positive", c.window);
}

std::map<std::string, std::string> to_metadata(const StudentConfig& config) {
  std::map<std::string, std::string> out;
  for_fields(config, [&](const char* key, const auto& value) { out[key] = text(value); });
  return out;
}

std::optional<StudentConfig> student_config_from_metadata(const std::map<std::string, std::string>& metadata,
                                                          const std::string& where) {
  StudentConfig config;
  std::string missing;
  std::size_t found = 0;
  for_fields(config, [&](const char* key, auto& value) {
    const auto it = metadata.find(key);
    if (it == metadata.end()) {
      missing = key;
      return;
    }
    ++found;
    if (!parse(it->second, value))
      throw_error("{}: metadata {}: '{}' is not a valid value", where, key, it->second);
  });
  if (found == 0) return std::nullopt;
  if (!missing.empty()) throw_error("{}: metadata {} is missing", where, missing);
  try {
    check(config);
  } catch (const UsageError& e) {
    throw_error("{}: metadata: {}", where, e.what());
  }
  return config;
}

}  // namespace vitral::models
