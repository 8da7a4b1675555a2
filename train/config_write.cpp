// The configuration as text: YAML of a run folder, metadata of a weights file, rows of the documentation.
#include <algorithm>

#include <fmt/format.h>

#include "tensor/error.h"
#include "train/config.h"
#include "train/config_keys.h"

namespace vitral::train {
namespace {

/// Whether this configuration has the key: a scheduler has its own keys, a named recipe no operations.
bool is_written(const Key& key, const Config& config) {
  const bool named_recipe = config.data.augment.none() || config.data.augment == data::AugmentConfig::clip();
  if (key.name == "data.augment") return named_recipe;
  if (key.name.starts_with("data.augment.")) return !named_recipe;
  return key.schedulers.empty() || std::find(key.schedulers.begin(), key.schedulers.end(),
                                             config.train.scheduler.name) != key.schedulers.end();
}

bool is_architecture(const Key& key) {
  return key.name.starts_with("model.") && key.name != "model.init_from";
}

}  // namespace

std::string to_yaml(const Config& config) {
  std::string text;
  std::string section;  // the open one, "train.optimizer."
  for (const Key& key : key_table()) {
    if (!is_written(key, config)) continue;
    while (!key.name.starts_with(section)) section.resize(section.rfind('.', section.size() - 2) + 1);
    std::string indent(2 * static_cast<std::size_t>(std::count(section.begin(), section.end(), '.')), ' ');
    for (;;) {
      const std::string rest = key.name.substr(section.size());
      const std::size_t dot = rest.find('.');
      if (dot == std::string::npos) {
        text += fmt::format("{}{}: {}\n", indent, rest, key.write(config));
        break;
      }
      text += fmt::format("{}{}:\n", indent, rest.substr(0, dot));
      section += rest.substr(0, dot + 1);
      indent += "  ";
    }
  }
  return text;
}

std::map<std::string, std::string> model_metadata(const ModelConfig& model) {
  Config config;
  config.model = model;
  std::map<std::string, std::string> metadata;
  for (const Key& key : key_table()) {
    if (is_architecture(key)) metadata[key.name] = key.write(config);
  }
  return metadata;
}

std::optional<ModelConfig> model_from_metadata(const std::map<std::string, std::string>& metadata,
                                               const std::string& file) {
  Config config;
  config.data.augment = {};  // no part of the model, nothing to fit to it
  std::string missing;
  for (const Key& key : key_table()) {
    if (!is_architecture(key)) continue;
    const auto it = metadata.find(key.name);
    if (it == metadata.end()) {
      if (missing.empty()) missing = key.name;
      continue;
    }
    try {
      key.read(YAML::Load(it->second), config);
    } catch (const BadValue& bad) {
      throw_error("{}: metadata {}: {}", file, key.name, bad.text);
    } catch (const YAML::Exception&) {
      throw_error("{}: metadata {}: must be {}, not {}", file, key.name, key.value, one_line(it->second));
    }
  }
  std::size_t given = 0;
  for (const auto& [name, value] : metadata) {
    if (!name.starts_with("model.")) continue;
    ++given;
    const auto& table = key_table();
    if (std::none_of(table.begin(), table.end(),
                     [&](const Key& key) { return key.name == name && is_architecture(key); }))
      throw_error("{}: metadata {}: unknown key; the file is of a newer version, or damaged", file,
                  one_line(name));
  }
  if (given == 0) return std::nullopt;
  if (!missing.empty()) throw_error("{}: metadata {}: is missing", file, missing);
  if (const auto conflict = find_conflict(config))
    throw_error("{}: metadata {}: {}", file, conflict->key, conflict->text);
  return config.model;
}

std::vector<KeyInfo> config_keys() {
  Config operations;  // a map of operations starts from none
  operations.data.augment = {};
  std::vector<KeyInfo> rows;
  for (const Key& key : key_table())
    rows.push_back(
        {key.name, key.value, key.write(key.name.starts_with("data.augment.") ? operations : Config{})});
  return rows;
}

}  // namespace vitral::train
