#include "base/utf8.h"

#include <optional>

namespace vitral {
namespace {

constexpr char32_t replacement = 0xFFFD;

// What may follow the first byte of a character (Unicode 14, table 3-7): how many bytes, and the range of the
// first of them; the others are 80..BF.
struct Lead {
  int more;
  unsigned low, high;
};

Lead lead(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1, 0x80, 0xBF};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};  // surrogates
  if (byte >= 0xE1 && byte <= 0xEF) return {2, 0x80, 0xBF};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3, 0x80, 0xBF};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {0, 0, 0};
}

// The character at `at`, which moves behind it; nothing for what is none, of which its longest beginning is
// passed.
std::optional<char32_t> next_character(std::string_view text, std::size_t& at) {
  const auto first = static_cast<unsigned char>(text[at++]);
  if (first < 0x80) return first;
  auto [more, low, high] = lead(first);
  if (more == 0) return std::nullopt;
  char32_t code = first & (0x3FU >> more);
  for (; more > 0; --more, low = 0x80, high = 0xBF) {
    const unsigned next = at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
    if (next < low || next > high) return std::nullopt;
    code = code << 6 | (next & 0x3FU);
    ++at;
  }
  return code;
}

}  // namespace

std::u32string from_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) out += next_character(text, at).value_or(replacement);
  return out;
}

std::size_t valid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (!next_character(text, at)) return begin;
  }
  return text.size();
}

void append_utf8(char32_t code, std::string& to) {
  if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) code = replacement;
  const auto put = [&to](char32_t byte) { to += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t code : text) append_utf8(code, out);
  return out;
}

}  // namespace vitral
