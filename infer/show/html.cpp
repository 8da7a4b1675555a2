#include "infer/show/html.h"

#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "base/text.h"

namespace vitral::infer {

using nlohmann::ordered_json;

std::string clean_text(const std::string& text) {
  const std::string quoted = json_text(ordered_json(one_line(text)));
  return ordered_json::parse(quoted).get<std::string>();
}

std::string html_escaped(const std::string& text) {
  std::string out;
  for (const char c : clean_text(text)) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  return out;
}

}  // namespace vitral::infer
