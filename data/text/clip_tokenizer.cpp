#include "data/text/clip_tokenizer.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "base/utf8.h"
#include "data/text/byte_pairs.h"
#include "data/text/clip_words.h"
#include "data/text/vocabulary.h"

namespace vitral::data {
namespace {

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

ClipTokenizer::ClipTokenizer(BytePairs pairs) {
  auto state = std::make_unique<State>();
  state->pairs = std::move(pairs);
  state_ = std::move(state);
}
ClipTokenizer::ClipTokenizer(ClipTokenizer&&) noexcept = default;
ClipTokenizer& ClipTokenizer::operator=(ClipTokenizer&&) noexcept = default;
ClipTokenizer::~ClipTokenizer() = default;

ClipTokenizer ClipTokenizer::load(const std::string& path) { return ClipTokenizer(read_vocabulary(path)); }

std::int64_t ClipTokenizer::size() const { return state_->pairs.size() + 2; }

std::vector<std::int64_t> ClipTokenizer::encode(std::string_view text) const {
  std::vector<std::int64_t> tokens;
  for_each_clip_word(text, [&](std::string_view word) {
    if (word == start_of_text)
      tokens.push_back(size() - 2);
    else if (word == end_of_text)
      tokens.push_back(size() - 1);
    else
      state_->append(word, tokens);
  });
  return tokens;
}

std::string ClipTokenizer::decode(const std::vector<std::int64_t>& tokens) const {
  std::string bytes;
  for (const std::int64_t token : tokens) {
    VITRAL_CHECK(token >= 0 && token < size(), "tokeniser: has no token {}, they are numbered 0 to {}", token,
                 size() - 1);
    bytes += token == start_token() ? start_of_text
             : token == end_token() ? end_of_text
                                    : BytePairs::bytes_of(state_->pairs.token(token));
  }
  std::string text = to_utf8(from_utf8(bytes));
  replace_all(text, "</w>", " ");
  return text;
}

}  // namespace vitral::data
