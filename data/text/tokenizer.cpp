#include "data/text/tokenizer.h"

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

struct Tokenizer::State {
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

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::string& path) {
  auto state = std::make_unique<State>();
  state->pairs = read_vocabulary(path);
  return Tokenizer(std::move(state));
}

std::int64_t Tokenizer::size() const { return state_->pairs.size() + 2; }

std::vector<std::int64_t> Tokenizer::encode(std::string_view text) const {
  VITRAL_CHECK(text.size() <= max_bytes, "text: {} bytes, at most {} can be tokenised; cut it", text.size(),
               max_bytes);
  const std::string cleaned = clean_text(text);
  std::vector<std::int64_t> tokens;
  Matcher matcher(state_->pattern, cleaned);
  while (const auto found = matcher.next()) {
    const std::string_view word =
        std::string_view(cleaned).substr(found->first, found->second - found->first);
    if (word == start_text)
      tokens.push_back(start_token());
    else if (word == end_text)
      tokens.push_back(end_token());
    else
      state_->append(word, tokens);
  }
  return tokens;
}

std::string Tokenizer::decode(const std::vector<std::int64_t>& tokens) const {
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

Tensor Tokenizer::encode(const std::vector<std::string>& texts, std::int64_t context) const {
  VITRAL_CHECK(!texts.empty(), "tokeniser: no texts given");
  VITRAL_CHECK(context >= 2, "tokeniser: a context of {} has no room for the start and end tokens", context);
  Tensor out({static_cast<std::int64_t>(texts.size()), context}, DType::int64);
  std::int64_t* row = out.data<std::int64_t>();
  for (const std::string& text : texts) {
    const std::vector<std::int64_t> tokens = encode(text);
    const std::int64_t kept = std::min(static_cast<std::int64_t>(tokens.size()), context - 2);
    std::fill(row, row + context, 0);
    row[0] = start_token();
    std::copy(tokens.begin(), tokens.begin() + kept, row + 1);
    row[kept + 1] = end_token();
    row += context;
  }
  return out;
}

}  // namespace vitral::data
