// Learns byte pairs (Sennrich, Haddow and Birch 2016, arXiv 1508.07909, algorithm 1) for CLIP's tokeniser.
//
//   WordCounts words;
//   for (const std::string& caption : captions) count_words(caption, words);
//   const BytePairs pairs = learn_byte_pairs(words, 2000 - smallest_vocabulary);
//   write_vocabulary("scenes-vocabulary", pairs);                        // data/text/vocabulary.h
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "data/text/byte_pairs.h"

namespace vitral::data {

/// Words and how often each of them occurs.
using WordCounts = std::unordered_map<std::string, std::int64_t>;

/// Adds the words of a text, which are those that ClipTokenizer encodes, without its special tokens.
void count_words(std::string_view text, WordCounts& words);

/// At most `merges` merges, each of the two neighbours that occur together most often, counted over all words
/// with what has been merged so far. Of pairs that occur equally often the one whose left token has the
/// smaller number comes first, then the one whose right token has. Ends earlier where no pair occurs twice.
/// The `tokenizers` package's BpeTrainer (min_frequency 2) gives the same merges where it numbers the symbols
/// as BytePairs does. Time: proportional to the bytes of the words in which each merge happens.
BytePairs learn_byte_pairs(const WordCounts& words, std::int64_t merges);

}  // namespace vitral::data
