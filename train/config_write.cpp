// The configuration as text: YAML of a run folder, metadata of a weights file, rows of the documentation.
#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "train/config.h"
#include "train/config_keys.h"

namespace vitral::train {
namespace {

/// Whether this configuration has the key: an optimiser has its own keys, a named recipe no operations, a
/// loss its terms.
bool is_written(const Key& key, const Config& config) {
  const bool named_recipe = config.data.augment.none() || config.data.augment == data::AugmentConfig::clip();
  if (key.name == "data.augment") return named_recipe;
  if (key.name.starts_with("data.augment.")) return !named_recipe;
  if (!belongs(key, config)) return false;
  return parent(key.name) != "train.objective" || config.train.objective.contains(last_part(key.name));
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

std::string first_difference(const Config& is, const Config& should_be) {
  for (const Key& key : key_table())
    if (const std::string a = key.write(is), b = key.write(should_be); a != b)
      return fmt::format("{}: {}, not {}", key.name, a, b);
  return "";
}

std::vector<KeyInfo> config_keys() {
  const Config defaults;
  Config operations;  // a map of operations starts from none
  operations.data.augment = {};
  std::vector<KeyInfo> rows;
  for (const Key& key : key_table())
    rows.push_back(
        {key.name, key.value, key.write(key.name.starts_with("data.augment.") ? operations : defaults)});
  return rows;
}

}  // namespace vitral::train
