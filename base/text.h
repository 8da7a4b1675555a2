// Text for people: what may stand in an error line.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace vitral {

/// Bytes of the control character (C0, DEL and, in UTF-8, C1) that begins at text[i]; 0: none does.
std::size_t control_at(std::string_view text, std::size_t i);
/// Text of unknown origin as it may stand in an error line: \x0a and the like for line breaks and other
/// control characters (C0, DEL and, in UTF-8, C1).
std::string one_line(std::string_view text);
/// The same, of at most `longest` bytes of the text.
std::string shown(std::string_view text, std::size_t longest = 100);

}  // namespace vitral
