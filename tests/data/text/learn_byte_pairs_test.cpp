#include "data/text/learn_byte_pairs.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/files/text_file.h"
#include "base/random.h"
#include "data/text/clip_tokenizer.h"
#include "data/text/vocabulary.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::TempDir;
using Merges = std::vector<std::pair<std::string, std::string>>;

const std::string golden = "tests/golden/vocabulary/";
constexpr std::int64_t all = 1 << 20;

WordCounts words_of_golden() {
  WordCounts words;
  for (const auto& line : read_lines(golden + "texts.txt")) count_words(line.text, words);
  return words;
}

Merges first(Merges merges, std::int64_t count) {
  merges.resize(static_cast<std::size_t>(count));
  return merges;
}

// The algorithm as it is told: all pairs are counted anew for each merge.
Merges learned_slowly(const WordCounts& words, std::size_t most) {
  BytePairs pairs;
  std::vector<std::pair<std::vector<std::int32_t>, std::int64_t>> all_words;
  for (const auto& [word, count] : words) all_words.emplace_back(pairs.encode(word), count);
  Merges out;
  while (out.size() < most) {
    std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> counts;
    for (const auto& [tokens, count] : all_words)
      for (std::size_t i = 0; i + 1 < tokens.size(); ++i) counts[{tokens[i], tokens[i + 1]}] += count;
    const auto best = std::max_element(counts.begin(), counts.end(),  // the first of the greatest
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    if (best == counts.end() || best->second < 2) break;
    const auto [left, right] = best->first;
    out.emplace_back(pairs.token(left), pairs.token(right));
    pairs.add_merge(pairs.token(left), pairs.token(right));
    for (auto& [tokens, count] : all_words)
      for (std::size_t i = 0; i + 1 < tokens.size(); ++i)
        if (tokens[i] == left && tokens[i + 1] == right) {
          tokens[i] = static_cast<std::int32_t>(pairs.size()) - 1;
          tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        }
  }
  return out;
}

// tests/reference/make_vocabulary.py
TEST(LearnBytePairs, GivesTheMergesOfTokenizers) {
  const WordCounts words = words_of_golden();
  const Merges expected = read_vocabulary(golden + "merges.txt").merges();
  ASSERT_GT(expected.size(), 200U);
  EXPECT_EQ(learn_byte_pairs(words, all).merges(), expected);  // until no pair occurs twice
  for (const std::int64_t count : {0, 1, 40, 100})
    EXPECT_EQ(learn_byte_pairs(words, count).merges(), first(expected, count)) << count;
}

TEST(LearnBytePairs, TransformersSplitsTextsAlike) {
  const TempDir folder;
  write_vocabulary(folder.str(), learn_byte_pairs(words_of_golden(), all));
  const ClipTokenizer tokenizer = ClipTokenizer::load(folder.str());
  const auto rows = nlohmann::json::parse(std::ifstream(golden + "rows.json"));
  ASSERT_GT(rows.size(), 100U);
  for (const auto& row : rows) {
    std::vector<std::int64_t> tokens = tokenizer.encode(row[0].get<std::string>());
    tokens.insert(tokens.begin(), tokenizer.start_token().value());
    tokens.push_back(tokenizer.end_token());
    EXPECT_EQ(tokens, row[1].get<std::vector<std::int64_t>>()) << row[0];
  }
}

// Few letters make ties and overlaps ("aaa") frequent.
TEST(LearnBytePairs, IsTheAlgorithmAsItIsTold) {
  Random random(5);
  for (int trial = 0; trial < 60; ++trial) {
    const std::uint64_t letters = 1 + random.below(3);
    WordCounts words;
    for (int i = 0; i < 12; ++i) {
      std::string word;
      for (std::uint64_t n = 1 + random.below(12); n > 0; --n)
        word += static_cast<char>('a' + random.below(letters));
      words[word] += 1 + static_cast<std::int64_t>(random.below(4));
    }
    const BytePairs learned = learn_byte_pairs(words, all);
    EXPECT_EQ(learned.merges(), learned_slowly(words, all)) << trial;
    std::set<std::string> tokens;  // each is made in one way only
    for (std::int64_t i = 0; i < learned.size(); ++i) tokens.insert(learned.token(i));
    EXPECT_EQ(static_cast<std::int64_t>(tokens.size()), learned.size()) << trial;
    // A word of the texts is encoded as it was when the learning ended.
    for (const auto& [word, count] : words) {
      std::string joined;
      for (const std::int32_t token : learned.encode(word)) joined += learned.token(token);
      EXPECT_EQ(joined, word + "</w>");
    }
  }
}

TEST(LearnBytePairs, WordsAreThoseOfTheTokeniser) {
  WordCounts words;
  count_words("A cat's  CAT, &amp;amp; <|startoftext|>12!", words);
  EXPECT_EQ(words,
            (WordCounts{{"a", 1}, {"cat", 2}, {"'s", 1}, {",", 1}, {"&", 1}, {"1", 1}, {"2", 1}, {"!", 1}}));
  // Of "cat" and "," nothing but c, a and t stands together twice.
  EXPECT_EQ(learn_byte_pairs(words, all).merges(), (Merges{{"a", "t</w>"}, {"c", "at</w>"}}));
  EXPECT_TRUE(learn_byte_pairs({}, all).merges().empty());
}

// Counting all pairs anew for each merge would take many minutes here.
TEST(LearnBytePairs, AMillionWordsTakeSeconds) {
  const auto start = std::chrono::steady_clock::now();
  Random random(6);
  WordCounts words;
  for (int i = 0; i < 200'000; ++i) {
    std::string word;
    for (std::uint64_t n = 1 + random.below(10); n > 0; --n)
      word += static_cast<char>('a' + random.below(26) * random.below(26) / 26);
    words[word] += 1 + static_cast<std::int64_t>(random.below(9));
  }
  EXPECT_EQ(learn_byte_pairs(words, 2000).size(), 2512);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 60);
}

TEST(WriteVocabulary, IsReadBackWhatItsSize) {
  const TempDir folder;
  BytePairs pairs;
  for (int i = 0; i < 50'000; ++i) pairs.add_merge(fmt::format("q{}", i), "z</w>");
  write_vocabulary(folder.str(), pairs);
  const BytePairs back = read_vocabulary(folder.str());
  EXPECT_EQ(vocabulary_size(back), 50'514);
  EXPECT_EQ(back.merges(), pairs.merges());
  std::filesystem::remove(folder / "vocab.json");  // then it is taken for OpenAI's list
  EXPECT_EQ(vocabulary_size(read_vocabulary(folder.str())), 49'408);
}

TEST(WriteVocabulary, WithWhatTransformersWants) {
  const TempDir folder;
  BytePairs pairs;
  pairs.add_merge("c", "a");
  write_clip_tokenizer(folder.str(), pairs, 16);
  const auto read = [&](const std::string& name) {
    return nlohmann::json::parse(std::ifstream(folder / name));
  };
  EXPECT_EQ(test::bytes_of_file(folder / "merges.txt"), "#version: 0.2\nc a\n");
  const auto numbers = read("vocab.json");
  EXPECT_EQ(numbers.size(), 515U);
  EXPECT_EQ(numbers["ca"], 512);
  EXPECT_EQ(numbers["<|startoftext|>"], 513);
  EXPECT_EQ(numbers["<|endoftext|>"], 514);
  const auto config = read("tokenizer_config.json"), special = read("special_tokens_map.json");
  EXPECT_EQ(config["tokenizer_class"], "CLIPTokenizer");
  EXPECT_EQ(config["model_max_length"], 16);
  EXPECT_EQ(special["bos_token"], "<|startoftext|>");
  for (const char* name : {"eos_token", "unk_token", "pad_token"}) EXPECT_EQ(special[name], "<|endoftext|>");
  write_clip_tokenizer(folder.str(), pairs);
  EXPECT_FALSE(read("tokenizer_config.json").contains("model_max_length"));
}

}  // namespace
}  // namespace vitral::data
