// YAML files that people write: configurations.
#pragma once
#include <string>

#include <yaml-cpp/yaml.h>

namespace vitral {

/// The one document in a file of at most 1 MiB. what: "configuration", for the errors. UsageError: no such
/// file, or one that is no text, no valid YAML (naming the line), or more than one document.
YAML::Node read_yaml_file(const std::string& path, const std::string& what);

}  // namespace vitral
