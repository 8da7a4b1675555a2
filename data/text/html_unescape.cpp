#include "data/text/html_unescape.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <unordered_set>

namespace vitral::data {
namespace {

#include "data/text/html_entities.inc"

constexpr std::size_t longest_name = 32;

char32_t hexadecimal(std::string_view digits) {
  std::uint32_t code = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
  return code;
}

template <class Use>
void for_each_word(std::string_view words, const Use& use) {
  for (std::size_t end; (end = words.find(' ')) != words.npos; words.remove_prefix(end + 1))
    use(words.substr(0, end));
}

struct References {
  std::unordered_map<std::string, std::u32string> named;  // "amp;", and "amp" where that is known, too
  std::unordered_map<char32_t, char32_t> replaced;
  std::unordered_set<char32_t> dropped;

  References() {
    for_each_word(named_references, [&](std::string_view word) {
      const bool bare = word.front() == '*';
      if (bare) word.remove_prefix(1);
      const std::size_t equals = word.find('=');
      std::u32string value;
      for (std::size_t at = equals; at != word.npos; at = word.find(',', at + 1))
        value += hexadecimal(word.substr(at + 1));
      const std::string name(word.substr(0, equals));
      if (bare) named[name] = value;
      named[name + ';'] = std::move(value);
    });
    for_each_word(replaced_numbers, [&](std::string_view word) {
      replaced[hexadecimal(word)] = hexadecimal(word.substr(word.find('=') + 1));
    });
    for_each_word(dropped_numbers, [&](std::string_view word) { dropped.insert(hexadecimal(word)); });
  }
};

const References& references() {
  static const References all;
  return all;
}

int digit(char32_t c, int base) {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (base == 16 && c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (base == 16 && c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return -1;
}

// "#" at text[at], after "&": appends what the number stands for and moves `at` behind it; false where there
// is none.
bool append_number(std::u32string_view text, std::size_t& at, std::u32string& out) {
  std::size_t end = at + 1;
  const int base = end < text.size() && (text[end] == 'x' || text[end] == 'X') ? 16 : 10;
  if (base == 16) ++end;
  const std::size_t first = end;
  char32_t code = 0;
  for (; end < text.size() && digit(text[end], base) >= 0; ++end)
    code = std::min<char32_t>(
        code * static_cast<char32_t>(base) + static_cast<char32_t>(digit(text[end], base)), 0x110000);
  if (end == first) return false;
  at = end < text.size() && text[end] == ';' ? end + 1 : end;
  const References& all = references();
  if (const auto other = all.replaced.find(code); other != all.replaced.end())
    out += other->second;
  else if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
    out += U'\uFFFD';
  else if (!all.dropped.contains(code))
    out += code;
  return true;
}

// After "&" at text[at]: the same for a name.
bool append_named(std::u32string_view text, std::size_t& at, std::u32string& out) {
  static constexpr std::u32string_view ends = U"\t\n\f <&#;";
  std::string name;  // ASCII, as all known names
  while (name.size() < longest_name && at + name.size() < text.size()) {
    const char32_t c = text[at + name.size()];
    if (c >= 0x80 || ends.find(c) != ends.npos) break;
    name += static_cast<char>(c);
  }
  const std::size_t after = at + name.size();
  if (after < text.size() && text[after] == ';' && !name.empty()) name += ';';
  // Whole, then shorter and shorter, down to two characters.
  for (; name.size() >= 2; name.pop_back()) {
    const auto known = references().named.find(name);
    if (known == references().named.end()) continue;
    out += known->second;
    at += name.size();
    return true;
  }
  return false;
}

}  // namespace

std::u32string html_unescape(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t mark = std::min(text.find(U'&', at), text.size());
    out += text.substr(at, mark - at);
    if (mark == text.size()) break;
    at = mark + 1;
    const bool number = at < text.size() && text[at] == '#';
    if (!(number ? append_number(text, at, out) : append_named(text, at, out))) out += U'&';
  }
  return out;
}

}  // namespace vitral::data
