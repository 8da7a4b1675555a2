#include "data/text/clean_text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include <utf8proc.h>

#include "base/error.h"
#include "base/utf8.h"
#include "data/text/html_unescape.h"
#include "data/text/pattern.h"

namespace vitral::data {
namespace {

constexpr char32_t first_that_composes = 0x300;  // everything below is in normal form C
constexpr char32_t capital_sigma = 0x3A3, final_sigma = 0x3C2;
constexpr char32_t capital_i_with_dot = 0x130, combining_dot = 0x307;

bool is_mark(std::int32_t code) { return utf8proc_get_property(code)->combining_class != 0; }

std::vector<std::int32_t> decomposed(std::u32string_view text) {
  std::vector<std::int32_t> out;
  out.reserve(text.size());
  for (const char32_t code : text) {
    std::array<std::int32_t, 8> parts{};  // no canonical decomposition has more than four
    int last_boundary = 0;
    const auto n = utf8proc_decompose_char(static_cast<std::int32_t>(code), parts.data(), parts.size(),
                                           UTF8PROC_DECOMPOSE, &last_boundary);
    if (n < 0) throw_error("text: {}", utf8proc_errmsg(n));
    out.insert(out.end(), parts.begin(), parts.begin() + n);
  }
  return out;
}

// Canonical order: each run of marks by combining class. utf8proc does it, too, in time that grows with the
// square of the run.
void order_marks(std::vector<std::int32_t>& text) {
  for (auto at = text.begin(); (at = std::find_if(at, text.end(), is_mark)) != text.end();) {
    const auto end = std::find_if_not(at, text.end(), is_mark);
    std::stable_sort(at, end, [](std::int32_t a, std::int32_t b) {
      return utf8proc_get_property(a)->combining_class < utf8proc_get_property(b)->combining_class;
    });
    at = end;
  }
}

// White space as Unicode has it, which is what \s of Python's `regex` and PCRE2's classes agree on.
bool is_space(char32_t c) {
  if ((c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85) return true;
  const auto category = c < 0x80 ? UTF8PROC_CATEGORY_CN : utf8proc_category(static_cast<std::int32_t>(c));
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

std::u32string single_spaces(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_space(text[i]))
      out += text[i];
    else if (i == 0 || !is_space(text[i - 1]))
      out += U' ';
  }
  return out;
}

// Where the sigmas at the end of a word stand (Unicode 14, table 3-17 "Final_Sigma"), as byte offsets of
// UTF-8.
std::vector<std::size_t> final_sigmas(std::string_view text) {
  static const Pattern pattern(
      "(?!\\p{Case_Ignorable})\\p{Cased}\\p{Case_Ignorable}*+\\K\\x{3A3}"
      "(?!\\p{Case_Ignorable}*+\\p{Cased})");
  std::vector<std::size_t> places;
  Matcher matcher(pattern, text);
  while (const auto found = matcher.next()) places.push_back(found->first);
  return places;
}

// `finals`: the bytes of UTF-8 at which final sigmas stand.
std::u32string lowered(std::u32string_view text, const std::vector<std::size_t>& finals) {
  std::u32string out;
  out.reserve(text.size());
  std::size_t byte = 0;
  auto next_final = finals.begin();
  for (const char32_t code : text) {
    if (next_final != finals.end() && byte == *next_final) {
      out += final_sigma;
      ++next_final;
    } else if (code == capital_i_with_dot) {
      out += {U'i', combining_dot};
    } else {
      out += static_cast<char32_t>(utf8proc_tolower(static_cast<std::int32_t>(code)));
    }
    byte += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return out;
}

}  // namespace

std::u32string normal_form_c(std::u32string_view text) {
  if (std::none_of(text.begin(), text.end(), [](char32_t c) { return c >= first_that_composes; }))
    return std::u32string(text);
  std::vector<std::int32_t> codes = decomposed(text);
  order_marks(codes);
  const auto length =
      utf8proc_normalize_utf32(codes.data(), static_cast<std::ptrdiff_t>(codes.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (length < 0) throw_error("text: {}", utf8proc_errmsg(length));
  return {codes.begin(), codes.begin() + length};
}

std::u32string lower_case(std::u32string_view text) {
  if (text.find(capital_sigma) == text.npos) return lowered(text, {});
  return lowered(text, final_sigmas(to_utf8(text)));
}

std::u32string lower_case_of_each(std::u32string_view text) { return lowered(text, {}); }

// The four separators of ASCII are white space to Python.
bool is_white_space(char32_t c) { return is_space(c) || (c >= 0x1C && c <= 0x1F); }

std::u32string_view stripped(std::u32string_view text) {
  while (!text.empty() && is_white_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_white_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string clean_text(std::string_view text) {
  std::u32string codes = normal_form_c(from_utf8(text));
  codes = html_unescape(html_unescape(codes));
  codes = single_spaces(stripped(codes));
  return to_utf8(lower_case(stripped(codes)));
}

}  // namespace vitral::data
