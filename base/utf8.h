// UTF-8 to code points and back.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace vitral {

/// What is no UTF-8 becomes U+FFFD, one for each longest beginning of a character (Unicode 14, 3.9 "U+FFFD
/// Substitution of Maximal Subparts"), as Python's decode("utf-8", "replace") does it.
std::u32string from_utf8(std::string_view text);
/// How many bytes of its beginning are UTF-8: all of them where it is.
std::size_t valid_utf8(std::string_view text);
/// Code points that are no characters (surrogates, above U+10FFFF) become U+FFFD.
std::string to_utf8(std::u32string_view text);
void append_utf8(char32_t code, std::string& to);

}  // namespace vitral
