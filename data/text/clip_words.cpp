#include "data/text/clip_words.h"

#include <string>

#include "base/error.h"
#include "data/text/clean_text.h"
#include "data/text/pattern.h"

namespace vitral::data {
namespace {

// openai/CLIP's pattern, with white space written out: PCRE2's \s also has U+180E.
constexpr const char* words =
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|"
    "[^\\t-\\r\\x{85}\\p{Z}\\p{L}\\p{N}]+";

constexpr std::size_t max_bytes = 1U << 30;  // of a text

}  // namespace

void for_each_clip_word(std::string_view text, const std::function<void(std::string_view)>& use) {
  static const Pattern pattern(words, Pattern::Case::ignored);
  VITRAL_CHECK(text.size() <= max_bytes, "text: {} bytes, at most {} can be tokenised; cut it", text.size(),
               max_bytes);
  const std::string cleaned = clean_text(text);
  Matcher matcher(pattern, cleaned);
  while (const auto found = matcher.next())
    use(std::string_view(cleaned).substr(found->first, found->second - found->first));
}

}  // namespace vitral::data
