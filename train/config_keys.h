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

/// With which values of another key there is this one.
struct Owner {
  std::string key;                  // train.optimizer.name
  std::vector<std::string> values;  // empty: any
};

/// A field of the whole configuration; its name is the path of the member: train.optimizer.lr.
struct Key : Field<Config> {
  Owner owner;
};

const std::vector<Key>& key_table();
/// Null where there is none.
const Key* find_key(const std::string& name);
/// Whether the optimiser, the scheduler or the model that the configuration names has the key.
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
