#include "train/config.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include "base/error.h"
#include "base/files/yaml_file.h"
#include "base/text.h"
#include "base/yaml_text.h"
#include "data/weights/weights.h"
#include "train/config_keys.h"

namespace vitral::train {
namespace {

// Keys and values as they may stand in an error line, and not endless.
std::string shown(std::string_view text) { return vitral::shown(text, 200); }

std::string join(const std::string& section, const std::string& key) {
  return section.empty() ? key : section + "." + key;
}

/// The keys and sections directly in a section ("" is the whole file), in the order of the table.
std::vector<std::string> children(const std::string& section) {
  std::vector<std::string> names;
  const std::string prefix = section.empty() ? "" : section + ".";
  for (const Key& key : key_table()) {
    if (!key.name.starts_with(prefix)) continue;
    std::string child = key.name.substr(prefix.size());
    child = child.substr(0, child.find('.'));
    if (std::find(names.begin(), names.end(), child) == names.end()) names.push_back(std::move(child));
  }
  return names;
}

bool is_section(const std::string& name) { return !children(name).empty(); }

/// Edits (insert, delete, replace) that turn a into b (Levenshtein 1966).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, replaced}));
    }
  }
  return row.back();
}

/// " did you mean lr?": the nearest key of the section, else a key of that very name elsewhere.
std::string suggestion(const std::string& section, const std::string& unknown) {
  if (unknown.size() > 64) return "";
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, unknown.size() / 3) + 1;
  for (const std::string& name : children(section)) {
    const std::size_t distance = edit_distance(unknown, name);
    if (distance < best_distance && distance < name.size()) best = name, best_distance = distance;
  }
  const auto& table = key_table();
  const auto same = [&](const Key& key) {
    return last_part(key.name) == unknown || key.name.ends_with("." + unknown) ||
           key.name.find("." + unknown + ".") != std::string::npos;
  };
  if (const auto it = std::find_if(table.begin(), table.end(), same); best_distance > 1 && it != table.end())
    best = it->name.substr(0, it->name.find("." + unknown) + 1 + unknown.size());
  return best.empty() ? "" : fmt::format("did you mean {}? ", best);
}

/// Where a key was set.
struct Origin {
  std::string text;  // "config.yaml:3", or the override as it was given
  std::string override_key;

  bool is_override() const { return !override_key.empty(); }
};

[[noreturn]] void fail(const Origin& at, const std::string& key, const std::string& what) {
  if (!at.is_override()) throw_error<UsageError>("{}: {}: {}", at.text, key, what);
  if (at.override_key == key) throw_error<UsageError>("override {}: {}", at.text, what);
  throw_error<UsageError>("override {}: {}: {}", at.text, key, what);
}

[[noreturn]] void fail_unknown(const Origin& at, const std::string& section, const std::string& key) {
  fail(at, shown(join(section, key)),
       fmt::format("unknown key; {}valid keys{}: {}", suggestion(section, key),
                   section.empty() ? "" : " of " + section, fmt::join(children(section), ", ")));
}

class Loader {
 public:
  void read_file(const std::string& path);
  void apply_override(const std::string& text);
  Config finish(CheckFiles check) &&;

 private:
  Origin origin_of(const YAML::Node& node, const Origin& whole) const {
    if (whole.is_override()) return whole;
    return {fmt::format("{}:{}", whole.text, node.Mark().line + 1), ""};
  }
  void set(const std::string& name, const YAML::Node& node, const Origin& whole, const Origin& at);
  void set_section(const std::string& section, const YAML::Node& node, const Origin& whole, const Origin& at);
  void reset(const std::string& section);
  void forget(const std::string& section) {
    std::erase_if(origins_, [&](const auto& entry) { return entry.first.starts_with(section + "."); });
  }
  /// Where the key, or else the map around it, was set.
  const Origin* find_origin(std::string name) const;
  /// Of two keys that do not fit, an override is named before the file, and a key before a default.
  int blame(const std::string& name) const;
  void check_owned_keys() const;
  void check_file(const std::string& name, const std::string& file, bool folder_too) const;

  Config config_;
  std::map<std::string, Origin> origins_;  // of the keys that were set
};

void Loader::read_file(const std::string& path) {
  const YAML::Node document = read_yaml_file(path, "configuration");
  const std::string sections = fmt::format("{}", fmt::join(children(""), ", "));
  if (document.IsNull())
    throw_error<UsageError>("{}: is empty; a configuration has the sections {}", path, sections);
  if (!document.IsMap())
    throw_error<UsageError>("{}:{}: must be a map of the sections {}, not {}", path, document.Mark().line + 1,
                            sections, describe(document));
  set_section("", document, {path, ""}, {path, ""});
}

/// Back to the defaults of a section that a map replaces; a map of operations or of terms starts from none.
void Loader::reset(const std::string& section) {
  Config defaults;
  if (section == "data.augment") defaults.data.augment = {};
  if (section == "train.objective") defaults.train.objective.clear();
  for (const Key& key : key_table())
    if (key.name.starts_with(section + ".")) key.copy(defaults, config_);
}

void Loader::set_section(const std::string& section, const YAML::Node& node, const Origin& whole,
                         const Origin& at) {
  if (!section.empty()) reset(section), forget(section);
  const auto names = children(section);
  std::vector<std::string> seen;
  for (const auto& entry : node) {
    const Origin here = origin_of(entry.first, whole);
    if (!entry.first.IsScalar())
      fail(here, section.empty() ? "top level" : section,
           "a key must be a name, not " + describe(entry.first));
    const std::string child = entry.first.Scalar();
    const std::string name = join(section, child);
    if (std::find(names.begin(), names.end(), child) == names.end()) fail_unknown(here, section, child);
    if (std::find(seen.begin(), seen.end(), child) != seen.end())
      fail(here, name, "is given twice; keep one");
    seen.push_back(child);
    set(name, entry.second, whole, here);
  }
  origins_[section] = at;
}

void Loader::set(const std::string& name, const YAML::Node& node, const Origin& whole, const Origin& at) {
  const Key* key = find_key(name);
  if (is_section(name) && node.IsMap()) return set_section(name, node, whole, at);
  if (!key)
    fail(at, name,
         fmt::format("must be a map of {}, not {}", fmt::join(children(name), ", "), describe(node)));
  try {
    key->read(node, config_);
  } catch (const BadValue& bad) {
    fail(at, name, bad.text);
  }
  forget(name);
  origins_[name] = at;
}

void Loader::apply_override(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    throw_error<UsageError>("override {}: must have the form section.key=value, e.g. train.epochs=20",
                            shown(text));
  const std::string name = text.substr(0, equals);
  const Origin at{shown(text), name};

  // The longest known beginning of the name, so that the message can say what would be valid after it.
  std::string known;
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t dot = std::min(name.find('.', start), name.size());
    const std::string part = name.substr(start, dot - start);
    const auto names = children(known);
    if (names.empty()) fail(at, known, "has no keys of its own");
    if (std::find(names.begin(), names.end(), part) == names.end()) fail_unknown(at, known, part);
    known = join(known, part);
    start = dot + 1;
  }

  YAML::Node node;
  try {
    node = YAML::Load(text.substr(equals + 1));
  } catch (const YAML::Exception& e) {
    fail(at, name, "not valid YAML: " + shown(e.msg));
  }
  const Config before = config_;
  set(name, node, at, at);
  const Key* changed = find_key(name);
  if (!changed || changed->write(before) == changed->write(config_)) return;
  // Another optimiser, schedule or model on the command line replaces that of the file, whose keys do not
  // belong to it.
  for (const Key& key : key_table()) {
    const auto origin = origins_.find(key.name);
    if (key.owner.key != name || origin == origins_.end() || origin->second.is_override()) continue;
    key.copy(Config{}, config_);
    origins_.erase(origin);
  }
}

const Origin* Loader::find_origin(std::string name) const {
  for (; !name.empty(); name = parent(name)) {
    if (const auto it = origins_.find(name); it != origins_.end()) return &it->second;
  }
  return nullptr;
}

int Loader::blame(const std::string& name) const {
  const Origin* origin = find_origin(name);
  if (!origin) return 0;
  return 1 + (origins_.contains(name) ? 1 : 0) + (origin->is_override() ? 2 : 0);
}

void Loader::check_owned_keys() const {
  for (const auto& [name, origin] : origins_) {
    const Key* key = find_key(name);
    if (!key || belongs(*key, config_)) continue;
    const std::string& owner = key->owner.key;
    const std::string is = find_key(owner)->write(config_);
    if (last_part(owner) != "name")
      fail(
          origin, name,
          fmt::format("is no key where {} is {}, only of {}", owner, is, fmt::join(key->owner.values, ", ")));
    const std::string section = parent(name);
    std::vector<std::string> valid;
    for (const Key& other : key_table())
      if (parent(other.name) == section && belongs(other, config_)) valid.push_back(last_part(other.name));
    fail(origin, name,
         fmt::format("is no key of {} {}; valid keys: {}", last_part(section), is, fmt::join(valid, ", ")));
  }
}

void Loader::check_file(const std::string& name, const std::string& file, bool folder_too) const {
  std::error_code problem;
  const auto status = std::filesystem::status(file, problem);
  std::string text;
  const std::string path = shown(file);
  if (status.type() == std::filesystem::file_type::none)
    text = fmt::format("{}: cannot be read: {}", path, problem.message());
  else if (!std::filesystem::exists(status)) {
    const std::string hub = folder_too ? data::hub_advice(file) : "";
    text = fmt::format("{}: no such file{}", path, hub.empty() ? "" : "; " + hub);
  } else if (!folder_too && std::filesystem::is_directory(status))
    text = fmt::format("{}: is a directory, an HDF5 file is needed", path);
  if (text.empty()) return;
  const Origin* origin = find_origin(name);
  if (!origin) throw_error<UsageError>("configuration: {}: {} (the default)", name, text);
  fail(*origin, name, text);
}

Config Loader::finish(CheckFiles check) && {
  check_owned_keys();
  if (const auto conflict = find_conflict(config_)) {
    const bool other = blame(conflict->other_key) > blame(conflict->key);
    const std::string& key = other ? conflict->other_key : conflict->key;
    const std::string& text = other ? conflict->other_text : conflict->text;
    const Origin* origin = find_origin(key);
    if (!origin) throw_error<UsageError>("configuration: {}: {}", key, text);
    fail(*origin, key, text);
  }
  if (check != CheckFiles::none) {
    for (const auto& file : config_.data.train) check_file("data.train", file, false);
    for (const auto& file : config_.data.val) check_file("data.val", file, false);
    if (!config_.teacher.weights.empty()) check_file("teacher.weights", config_.teacher.weights, true);
    if (!config_.train.texts.empty()) check_file("train.texts", config_.train.texts, false);
    if (config_.model.kind == "clip")
      check_file("model.text.vocabulary", config_.model.clip.text.vocabulary, true);
    if (check == CheckFiles::all && !config_.model.init_from.empty())
      check_file("model.init_from", config_.model.init_from, true);
  }
  return std::move(config_);
}

}  // namespace

ModelConfig::ModelConfig() = default;

models::ClipConfig clip_config(const ModelConfig& model) {
  models::ClipConfig out = model.clip;
  out.image_size = model.image_size;
  out.patch_size = model.patch_size;
  out.width = model.width;
  return out;
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides, CheckFiles check) {
  Loader loader;
  loader.read_file(path);
  for (const std::string& text : overrides) loader.apply_override(text);
  return std::move(loader).finish(check);
}

}  // namespace vitral::train
