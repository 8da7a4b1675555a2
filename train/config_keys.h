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
  std::vector<std::string> owners;  // values of SECTION.name with which there is this key; empty: any
};

const std::vector<Key>& key_table();
/// Null where there is none.
const Key* find_key(const std::string& name);
/// Whether the optimiser or scheduler that the configuration names has the key.
bool belongs(const Key& key, const Config& config);

/// train.optimizer.lr: "train.optimizer" and "lr".
std::string parent(const std::string& name);
std::string last_part(const std::string& name);

/// A term of the loss that compares the images of a micro-batch, which therefore needs two; "": there is
/// none.
std::string coupling_term(const TrainConfig& config);

/// Keys that do not fit together, under their whole names.
std::optional<Conflict> find_conflict(const Config& config);

}  // namespace vitral::train
