#include "models/clip/weights.h"

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "base/input_file.h"
#include "data/weights/weights.h"

namespace vitral::models {
namespace {

constexpr std::uint64_t max_config_bytes = 1 << 20;

// {"a": {"b": 1}} -> "a.b" = "1". Lists and nulls are left out.
void flatten(const nlohmann::json& value, const std::string& name, int depth,
             std::map<std::string, std::string>& out) {
  if (value.is_object() && depth < 8) {
    for (const auto& [key, inner] : value.items())
      flatten(inner, name.empty() ? key : fmt::format("{}.{}", name, key), depth + 1, out);
  } else if (value.is_string()) {
    out[name] = value.get<std::string>();
  } else if (value.is_number() || value.is_boolean()) {
    out[name] = value.dump();
  }
}

void read_config(const std::string& path, std::map<std::string, std::string>& metadata) {
  const InputFile file(path);
  VITRAL_CHECK(file.size() <= max_config_bytes, "{}: has {} bytes, which no configuration of a model has",
               path, file.size());
  std::string text(file.size(), '\0');
  file.read(0, text.data(), text.size());
  const auto config = nlohmann::json::parse(text, nullptr, false);
  if (!config.is_object()) throw_error("{}: is no JSON object; copy it again", path);
  flatten(config, "", 0, metadata);
}

}  // namespace

data::WeightsFile read_clip_weights(const std::string& path, data::TensorMemory memory) {
  data::WeightsFile weights = data::read_weights(path, memory);
  std::error_code ignored;
  const std::string config = path + "/config.json";
  if (std::filesystem::is_directory(path, ignored) && std::filesystem::is_regular_file(config, ignored))
    read_config(config, weights.metadata);
  return weights;
}

}  // namespace vitral::models
