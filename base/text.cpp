#include "base/text.h"

#include <fmt/format.h>

namespace vitral {

std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      line += c;
  }
  return line;
}

std::string shown(std::string_view text, std::size_t longest) {
  const std::string line = one_line(text.substr(0, longest));
  return text.size() > longest ? line + "..." : line;
}

}  // namespace vitral
