#include "data/text/clip_tokenizer.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "base/utf8.h"
#include "data/text/byte_pairs.h"
#include "data/text/clean_text.h"
#include "data/text/pattern.h"
#include "data/text/vocabulary.h"

namespace vitral::data {
namespace {

// openai/CLIP's pattern, with white space written out: PCRE2's \s also has U+180E.
constexpr const char* words =
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|"
    "[^\\t-\\r\\x{85}\\p{Z}\\p{L}\\p{N}]+";
constexpr std::string_view start_text = "<|startoftext|>", end_text = "<|endoftext|>";

constexpr std::size_t max_bytes = 1U << 30;      // of a text
constexpr std::size_t longest_cached = 64;       // bytes
constexpr std::size_t max_cached_words = 65536;  // some 10 MB

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  std::string out;
  std::size_t from = 0;
  for (std::size_t at; (at = text.find(what, from)) != text.npos; from = at + what.size())
    out.append(text, from, at - from).append(by);
  text = out.append(text, from);
}

}  // namespace

struct ClipTokenizer::State {
  BytePairs pairs;
  Pattern pattern{words, Pattern::Case::ignored};
  mutable std::mutex mutex;
  mutable std::unordered_map<std::string, std::vector<std::int32_t>> cache;

  void append(std::string_view word, std::vector<std::int64_t>& tokens) const {
    if (word.size() > longest_cached) {
      const auto found = pairs.encode(word);
      tokens.insert(tokens.end(), found.begin(), found.end());
      return;
    }
    const std::lock_guard lock(mutex);
    const std::string key(word);
    auto known = cache.find(key);
    if (known == cache.end()) {
      if (cache.size() >= max_cached_words) cache.clear();
      known = cache.emplace(key, pairs.encode(word)).first;
    }
    tokens.insert(tokens.end(), known->second.begin(), known->second.end());
  }
};

ClipTokenizer::ClipTokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
ClipTokenizer::ClipTokenizer(ClipTokenizer&&) noexcept = default;
ClipTokenizer& ClipTokenizer::operator=(ClipTokenizer&&) noexcept = default;
ClipTokenizer::~ClipTokenizer() = default;

ClipTokenizer ClipTokenizer::load(const std::string& path) {
  auto state = std::make_unique<State>();
  state->pairs = read_vocabulary(path);
  return ClipTokenizer(std::move(state));
}

std::int64_t ClipTokenizer::size() const { return state_->pairs.size() + 2; }

std::vector<std::int64_t> ClipTokenizer::encode(std::string_view text) const {
  VITRAL_CHECK(text.size() <= max_bytes, "text: {} bytes, at most {} can be tokenised; cut it", text.size(),
               max_bytes);
  const std::string cleaned = clean_text(text);
  std::vector<std::int64_t> tokens;
  Matcher matcher(state_->pattern, cleaned);
  while (const auto found = matcher.next()) {
    const std::string_view word =
        std::string_view(cleaned).substr(found->first, found->second - found->first);
    if (word == start_text)
      tokens.push_back(size() - 2);
    else if (word == end_text)
      tokens.push_back(size() - 1);
    else
      state_->append(word, tokens);
  }
  return tokens;
}

std::string ClipTokenizer::decode(const std::vector<std::int64_t>& tokens) const {
  std::string bytes;
  for (const std::int64_t token : tokens) {
    VITRAL_CHECK(token >= 0 && token < size(), "tokeniser: has no token {}, they are numbered 0 to {}", token,
                 size() - 1);
    bytes += token == start_token() ? start_text
             : token == end_token() ? end_text
                                    : BytePairs::bytes_of(state_->pairs.token(token));
  }
  std::string text = to_utf8(from_utf8(bytes));
  replace_all(text, "</w>", " ");
  return text;
}

}  // namespace vitral::data
