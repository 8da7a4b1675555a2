#include "base/text.h"

#include <fmt/format.h>

namespace vitral {

std::size_t control_at(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) {
    return k < text.size() ? static_cast<unsigned char>(text[k]) : 0xffU;
  };
  // U+0080 to U+009F are two bytes in UTF-8; a terminal takes U+009B for the beginning of a command.
  if (byte(i) == 0xc2 && byte(i + 1) >= 0x80 && byte(i + 1) <= 0x9f) return 2;
  return byte(i) < 0x20 || byte(i) == 0x7f ? 1 : 0;
}

std::string one_line(std::string_view text) {
  std::string line;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t control = control_at(text, i);
    if (control > 0)
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i += control - 1]));
    else
      line += text[i];
  }
  return line;
}

std::string shown(std::string_view text, std::size_t longest) {
  const std::string line = one_line(text.substr(0, longest));
  return text.size() > longest ? line + "..." : line;
}

}  // namespace vitral
