#include "data/text/learn_byte_pairs.h"

#include <queue>
#include <utility>
#include <vector>

#include "data/text/clip_words.h"

namespace vitral::data {
namespace {

using Pair = std::pair<std::int32_t, std::int32_t>;  // numbers of two tokens, the left one first

struct Word {
  std::vector<std::int32_t> tokens;
  std::int64_t count = 0;
};

// Where a pair occurs. Counts are kept as merges change them, of the words no one is taken back: a word that
// does not have the pair any more is looked at in vain.
struct Places {
  std::int64_t count = 0;
  std::vector<std::size_t> words;
};

// The queue's order: the greatest count first, then the smallest pair.
struct Candidate {
  std::int64_t count;
  Pair pair;
  bool operator<(const Candidate& o) const { return count != o.count ? count < o.count : pair > o.pair; }
};

struct HashOfPair {
  std::size_t operator()(const Pair& p) const {
    return std::hash<std::uint64_t>()(static_cast<std::uint64_t>(p.first) << 32 |
                                      static_cast<std::uint32_t>(p.second));
  }
};

class Learner {
 public:
  explicit Learner(const WordCounts& words) {
    for (const auto& [word, count] : words) {
      words_.push_back({pairs_.encode(word), count});
      const auto& tokens = words_.back().tokens;
      for (std::size_t i = 0; i + 1 < tokens.size(); ++i)
        add({tokens[i], tokens[i + 1]}, count, words_.size() - 1);
    }
    for (const auto& [pair, places] : places_) queue_.push({places.count, pair});
  }

  BytePairs learn(std::int64_t merges) {
    for (std::int64_t done = 0; done < merges && !queue_.empty();) {
      const auto [count, pair] = queue_.top();
      queue_.pop();
      const std::int64_t now = places_[pair].count;
      if (now < fewest) continue;
      if (now < count) {  // merges have taken some of it since
        queue_.push({now, pair});
        continue;
      }
      merge(pair);
      ++done;
    }
    return std::move(pairs_);
  }

 private:
  static constexpr std::int64_t fewest = 2;

  void add(const Pair& pair, std::int64_t count, std::size_t word) {
    Places& places = places_[pair];
    places.count += count;
    if (places.words.empty() || places.words.back() != word) places.words.push_back(word);
  }

  void merge(const Pair& pair) {
    const auto both = static_cast<std::int32_t>(pairs_.size());
    pairs_.add_merge(pairs_.token(pair.first), pairs_.token(pair.second));
    made_.clear();
    const std::vector<std::size_t> words = std::move(places_[pair].words);
    for (const std::size_t word : words) merge(pair, both, word);
    places_.erase(pair);
    for (const auto& made : made_)
      if (const std::int64_t count = places_[made].count; count >= fewest) queue_.push({count, made});
  }

  // From left to right: of three equal tokens the first two become one.
  void merge(const Pair& pair, std::int32_t both, std::size_t word) {
    auto& [tokens, count] = words_[word];
    std::size_t to = 0;
    for (std::size_t from = 0; from < tokens.size();) {
      const bool here =
          tokens[from] == pair.first && from + 1 < tokens.size() && tokens[from + 1] == pair.second;
      if (!here) {
        tokens[to++] = tokens[from++];
        continue;
      }
      if (to > 0) replace({tokens[to - 1], pair.first}, {tokens[to - 1], both}, count, word);
      from += 2;
      if (from < tokens.size()) replace({pair.second, tokens[from]}, {both, tokens[from]}, count, word);
      tokens[to++] = both;
    }
    tokens.resize(to);
  }

  void replace(const Pair& old, const Pair& made, std::int64_t count, std::size_t word) {
    places_[old].count -= count;
    if (!places_.contains(made)) made_.push_back(made);
    add(made, count, word);
  }

  BytePairs pairs_;
  std::vector<Word> words_;
  std::unordered_map<Pair, Places, HashOfPair> places_;
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> made_;  // by the merge that goes on
};

}  // namespace

void count_words(std::string_view text, WordCounts& words) {
  for_each_clip_word(text, [&](std::string_view word) {
    if (word != start_of_text && word != end_of_text) ++words[std::string(word)];
  });
}

BytePairs learn_byte_pairs(const WordCounts& words, std::int64_t merges) {
  return Learner(words).learn(merges);
}

}  // namespace vitral::data
