// JSON as it may be printed.
#pragma once
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace vitral {

/// One line, or with an indent several. Bytes that are no UTF-8 become U+FFFD. Beyond what JSON asks for, DEL
/// and the control characters U+0080 to U+009F are escaped, too: a terminal would obey them.
std::string json_text(const nlohmann::json& value, int indent = -1);
std::string json_text(const nlohmann::ordered_json& value, int indent = -1);

}  // namespace vitral
