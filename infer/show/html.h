// Text of unknown origin in pages: HTML and SVG.
#pragma once
#include <string>

namespace vitral::infer {

/// One line of valid UTF-8 (base/text.h, base/utf8.h).
std::string clean_text(const std::string& text);
/// clean_text() as it may stand between tags and in quoted attributes.
std::string html_escaped(const std::string& text);

}  // namespace vitral::infer
