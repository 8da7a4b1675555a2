// The table of configuration keys (internal to train/config*.cpp): one row per key gives its name, its valid
// values, and how it is read from and written as YAML. Adding a key is one member in train/config.h, one row
// in config_keys.cpp and one row in docs/config.md (a test compares the two).
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "train/config.h"

namespace vitral::train {

/// Thrown by Key::read: "must be an integer >= 1, not 0"; the caller adds file, line and key.
struct BadValue {
  std::string text;
};

struct Key {
  std::string name;                                      // train.optimizer.lr, also the path of the member
  std::string value;                                     // what it may be: "a number > 0"
  std::function<void(const YAML::Node&, Config&)> read;  // throws BadValue
  std::function<std::string(const Config&)> write;       // YAML, on one line
  std::vector<std::string> schedulers;                   // those that have this key; empty: any
};

const std::vector<Key>& key_table();

/// Two keys that do not fit together, told from the side of either.
struct Conflict {
  std::string key, text;
  std::string other_key, other_text;
};
std::optional<Conflict> find_conflict(const Config& config);

/// A node in an error message: 3, "3" (the text), null, a list, a map.
std::string describe(const YAML::Node& node);

/// Text as YAML on one line: as it is where that is unambiguous YAML, else in double quotes with escapes.
std::string yaml_text(std::string_view text);

/// A number with as many digits as reading it back exactly needs; also YAML 1.1 reads it as a number.
std::string yaml_number(double value);
std::string yaml_number(float value);

}  // namespace vitral::train
