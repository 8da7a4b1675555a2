#include "base/json_text.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vitral {
namespace {

template <class Json>
std::string printed(const Json& value, int indent) {
  std::string out;
  const std::string text = value.dump(indent, ' ', false, Json::error_handler_t::replace);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    const bool c1 = byte == 0xc2 && next < 0xa0;  // in UTF-8 two bytes; what follows 0xc2 is 0x80 or more
    if (c1) ++i;
    if (c1 || byte == 0x7f)
      out += fmt::format("\\u{:04x}", c1 ? next : byte);
    else
      out += text[i];
  }
  return out;
}

}  // namespace

std::string json_text(const nlohmann::json& value, int indent) { return printed(value, indent); }
std::string json_text(const nlohmann::ordered_json& value, int indent) { return printed(value, indent); }

}  // namespace vitral
