// HTML's character references: "&amp;", "&#38;", "&#x26;".
#pragma once
#include <string>
#include <string_view>

namespace vitral::data {

/// As Python's html.unescape(): all 2,231 names of HTML 5, the longest name that is known where the semicolon
/// is missing ("&notit" is "¬it"), numbers as HTML reads them (128 is the euro sign), and the rest as it is.
std::u32string html_unescape(std::u32string_view text);

}  // namespace vitral::data
