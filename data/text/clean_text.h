// A text as CLIP's tokeniser wants it before it splits words.
#pragma once
#include <string>
#include <string_view>

namespace vitral::data {

/// UTF-8 repaired (base/utf8.h), Unicode normal form C, HTML character references undone twice
/// (data/text/html_unescape.h), white space at both ends removed and each run of it made one space, lower
/// case. After openai/CLIP, clip/simple_tokenizer.py: basic_clean(), whitespace_clean(), lower(). Of ftfy,
/// which it calls first, this is the normal form alone; curly quotes and text that was decoded wrongly stay.
std::string clean_text(std::string_view text);

/// Python's str.lower(): the simple mappings of Unicode 14, U+0130 to two characters, and a capital sigma at
/// the end of a word to a final one.
std::u32string lower_case(std::u32string_view text);
/// Rust's char::to_lowercase() of each character: the same, but that a sigma does not see where it stands.
std::u32string lower_case_of_each(std::u32string_view text);

/// Python's str.isspace().
bool is_white_space(char32_t c);
/// Python's str.strip().
std::u32string_view stripped(std::u32string_view text);

/// Python's unicodedata.normalize("NFC").
std::u32string normal_form_c(std::u32string_view text);

}  // namespace vitral::data
