#include "base/json_text.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace vitral {
namespace {

template <class Json>
std::string printed(const Json& value, int indent) {
  std::string out;
  const std::string text = value.dump(indent, ' ', false, Json::error_handler_t::replace);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t control = text[i] == '\n' ? 0 : control_at(text, i);  // between lines that are indented
    if (control > 0)
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(text[i += control - 1]));
    else
      out += text[i];
  }
  return out;
}

}  // namespace

std::string json_text(const nlohmann::json& value, int indent) { return printed(value, indent); }
std::string json_text(const nlohmann::ordered_json& value, int indent) { return printed(value, indent); }

}  // namespace vitral
