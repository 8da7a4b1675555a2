#include "data/text/byte_pairs.h"

#include <array>
#include <functional>
#include <map>
#include <queue>

#include "base/utf8.h"

namespace vitral::data {
namespace {

constexpr int bytes = 256;

bool can_be_seen(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The bytes in the order of their numbers: those that can be seen, then the others; and the character that
// each is written as.
struct ByteNames {
  std::array<std::uint8_t, bytes> order{};
  std::array<char32_t, bytes> written{};
  std::array<std::uint8_t, bytes> number{};  // the place of a byte in `order`

  ByteNames() {
    std::size_t next = 0;
    char32_t unseen = 0x100;
    for (const bool seen : {true, false})
      for (int byte = 0; byte < bytes; ++byte) {
        if (can_be_seen(byte) != seen) continue;
        const auto b = static_cast<std::size_t>(byte);
        written[b] = seen ? static_cast<char32_t>(byte) : unseen++;
        number[b] = static_cast<std::uint8_t>(next);
        order[next++] = static_cast<std::uint8_t>(byte);
      }
  }
};

const ByteNames& names() {
  static const ByteNames all;
  return all;
}

}  // namespace

BytePairs::BytePairs() {
  // Symbol and token numbers of these are the same, which encode() uses.
  for (const char* end : {"", "</w>"})
    for (const std::uint8_t byte : names().order)
      add_token(symbol_of(to_utf8({&names().written[byte], 1}) + end));
}

std::int32_t BytePairs::symbol_of(const std::string& written) {
  const auto [at, added] = symbols_.try_emplace(written, static_cast<std::int32_t>(numbers_.size()));
  if (added) {
    written_.push_back(&at->first);
    numbers_.push_back(-1);
  }
  return at->second;
}

void BytePairs::add_token(std::int32_t symbol) {
  numbers_[static_cast<std::size_t>(symbol)] = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(symbol);
}

void BytePairs::add_merge(const std::string& left, const std::string& right) {
  const std::int32_t l = symbol_of(left), r = symbol_of(right), both = symbol_of(left + right);
  merges_[key(l, r)] = {ranks_++, both};
  add_token(both);
}

const BytePairs::Merge* BytePairs::merge_of(std::int32_t left, std::int32_t right) const {
  const auto found = merges_.find(key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

std::vector<std::pair<std::string, std::string>> BytePairs::merges() const {
  std::map<std::int32_t, std::uint64_t> by_rank;
  for (const auto& [pair, merge] : merges_) by_rank[merge.rank] = pair;
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [rank, pair] : by_rank)
    out.emplace_back(*written_[pair >> 32], *written_[static_cast<std::uint32_t>(pair)]);
  return out;
}

std::vector<std::int32_t> BytePairs::encode(std::string_view word) const {
  // A list of symbols, linked both ways; one that became part of its left neighbour is -1.
  const auto n = static_cast<std::int32_t>(word.size());
  std::vector<std::int32_t> symbols(word.size()), next(word.size()), previous(word.size());
  for (std::int32_t i = 0; i < n; ++i) {
    const auto k = static_cast<std::size_t>(i);
    symbols[k] = names().number[static_cast<unsigned char>(word[k])] + (i == n - 1 ? bytes : 0);
    next[k] = i + 1;
    previous[k] = i - 1;
  }
  struct Candidate {
    std::int32_t rank, at, left, right;  // the pair stood at `at` when this was noted
    bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto note = [&](std::int32_t at) {
    if (at < 0 || next[static_cast<std::size_t>(at)] >= n) return;
    const std::int32_t left = symbols[static_cast<std::size_t>(at)],
                       right = symbols[static_cast<std::size_t>(next[static_cast<std::size_t>(at)])];
    if (const Merge* merge = merge_of(left, right)) candidates.push({merge->rank, at, left, right});
  };
  for (std::int32_t i = 0; i < n; ++i) note(i);

  std::vector<std::int32_t> merged;
  while (!candidates.empty()) {
    // All places of the pair, from left to right, before any pair that this makes.
    const std::int32_t rank = candidates.top().rank;
    merged.clear();
    while (!candidates.empty() && candidates.top().rank == rank) {
      const Candidate c = candidates.top();
      candidates.pop();
      const auto at = static_cast<std::size_t>(c.at);
      const std::int32_t after = next[at];
      if (symbols[at] != c.left || after >= n || symbols[static_cast<std::size_t>(after)] != c.right)
        continue;
      symbols[at] = merge_of(c.left, c.right)->symbol;
      symbols[static_cast<std::size_t>(after)] = -1;
      next[at] = next[static_cast<std::size_t>(after)];
      if (next[at] < n) previous[static_cast<std::size_t>(next[at])] = c.at;
      merged.push_back(c.at);
    }
    for (const std::int32_t at : merged) {
      note(previous[static_cast<std::size_t>(at)]);
      note(at);
    }
  }
  std::vector<std::int32_t> tokens;
  for (std::int32_t i = 0; i < n; i = next[static_cast<std::size_t>(i)])
    tokens.push_back(numbers_[static_cast<std::size_t>(symbols[static_cast<std::size_t>(i)])]);
  return tokens;
}

std::string BytePairs::bytes_of(std::string_view written) {
  static const std::unordered_map<char32_t, char> byte_of = [] {
    std::unordered_map<char32_t, char> all;
    for (int byte = 0; byte < bytes; ++byte)
      all[names().written[static_cast<std::size_t>(byte)]] = static_cast<char>(byte);
    return all;
  }();
  std::string out;
  for (const char32_t c : from_utf8(written)) {
    const auto known = byte_of.find(c);
    if (known != byte_of.end()) out += known->second;
  }
  return out;
}

}  // namespace vitral::data
