// The table of configuration keys (internal to train/config*.cpp): one row per key gives its name, its valid
// values, and how it is read from and written as YAML. Adding a key is one member in train/config.h, one row
// in config_keys.cpp and one row in docs/config.md (a test compares the two).
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/fields.h"
#include "train/config.h"

namespace vitral::train {

/// A field of the whole configuration; its name is the path of the member: train.optimizer.lr.
struct Key : Field<Config> {
  std::vector<std::string> schedulers;  // those that have this key; empty: any
};

const std::vector<Key>& key_table();

/// Keys that do not fit together, under their whole names.
std::optional<Conflict> find_conflict(const Config& config);

}  // namespace vitral::train
