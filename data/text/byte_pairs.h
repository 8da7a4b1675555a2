// Byte-pair encoding (Sennrich, Haddow and Birch 2016, arXiv 1508.07909) as CLIP uses it: each byte of a word
// is a symbol, its last one another that ends a word; neighbours are merged, the pair of the lowest rank
// first and everywhere in the word at once, until no pair is known.
//
// Symbols are written as text of one character a byte (openai/CLIP, bytes_to_unicode()): those of Latin-1
// that can be seen stand for themselves, the others for U+0100 and on. "</w>" ends a word.
//
//   BytePairs pairs;
//   pairs.add_merge("c", "a");
//   pairs.add_merge("ca", "t</w>");
//   pairs.encode("cat");               // numbers: 256 bytes, 256 bytes that end a word, then the merges
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace vitral::data {

class BytePairs {
 public:
  BytePairs();
  BytePairs(BytePairs&&) = default;
  BytePairs& operator=(BytePairs&&) = default;

  /// The next merge; the pair's rank and the new token's number follow from the order of the calls. A pair or
  /// a token that was there before gets the new rank and number, as in the original's dictionaries.
  void add_merge(const std::string& left, const std::string& right);

  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }
  /// How token number `token` is written: "cat</w>".
  const std::string& token(std::int64_t token) const {
    return *written_[static_cast<std::size_t>(tokens_[static_cast<std::size_t>(token)])];
  }

  /// The pairs of each merge, in the order of their ranks.
  std::vector<std::pair<std::string, std::string>> merges() const;

  /// The token numbers of a word, which is not empty. Takes time proportional to n log n.
  std::vector<std::int32_t> encode(std::string_view word) const;
  /// The bytes that a written token, without "</w>", stands for.
  static std::string bytes_of(std::string_view written);

 private:
  struct Merge {
    std::int32_t rank = 0;
    std::int32_t symbol = 0;  // of the two together
  };
  static constexpr std::uint64_t key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }
  std::int32_t symbol_of(const std::string& written);
  void add_token(std::int32_t symbol);
  const Merge* merge_of(std::int32_t left, std::int32_t right) const;

  std::unordered_map<std::string, std::int32_t> symbols_;  // by how they are written
  std::vector<const std::string*> written_;                // how each symbol is written: keys of symbols_
  std::vector<std::int32_t> numbers_;                      // the token number of each symbol, or -1
  std::vector<std::int32_t> tokens_;                       // the symbol of each token
  std::unordered_map<std::uint64_t, Merge> merges_;        // by key(left, right)
  std::int32_t ranks_ = 0;
};

}  // namespace vitral::data
