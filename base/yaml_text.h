// Configuration values as text: in YAML files, in metadata and in error messages.
#pragma once
#include <string>
#include <string_view>

namespace YAML {
class Node;
}

namespace vitral {

/// A node in an error message: 3, "3" (the text), null, a list, a map.
std::string describe(const YAML::Node& node);

/// Text as YAML on one line: as it is where that is unambiguous YAML, else in double quotes with escapes.
std::string yaml_text(std::string_view text);

/// A number with as many digits as reading it back exactly needs; also YAML 1.1 reads it as a number.
std::string yaml_number(double value);
std::string yaml_number(float value);

}  // namespace vitral
