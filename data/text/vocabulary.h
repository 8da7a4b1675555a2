// The files that hold a vocabulary of CLIP's tokeniser.
#pragma once
#include <cstdint>
#include <string>

#include "data/text/byte_pairs.h"

namespace vitral::data {

/// All tokens: those of the pairs, <|startoftext|> and <|endoftext|>, in this order.
inline std::int64_t vocabulary_size(const BytePairs& pairs) { return pairs.size() + 2; }

/// Of no merges: 256 bytes, 256 bytes that end a word, and the two.
inline constexpr std::int64_t smallest_vocabulary = 514;

/// Where the vocabulary lies: the path itself, or in a folder merges.txt, bpe_simple_vocab_16e6.txt.gz,
/// bpe_simple_vocab_16e6.txt or tokenizer.json. UsageError: nothing there.
std::string find_vocabulary(const std::string& path);

/// A list of merges, one a line, two tokens a merge, after a first line that says what it is: OpenAI's
/// bpe_simple_vocab_16e6.txt.gz, also unpacked, or Hugging Face's merges.txt, as write_vocabulary() makes it,
/// too. A vocab.json beside a merges.txt must have the same tokens and numbers, where it is there; of a list
/// without one the first 48,894 merges count, as CLIP takes them from OpenAI's longer one.
/// Or a tokenizer.json of Hugging Face's `tokenizers`, the only file that transformers 5 writes: its merges
/// ("a b" or ["a", "b"]) and its numbers, where it prepares texts as CLIP's does.
/// UsageError: no such file, or of another kind; Error: damaged.
BytePairs read_vocabulary(const std::string& path);

/// XXH3-64 of its merges, in hexadecimal digits: whether two vocabularies are the same.
std::string digest(const BytePairs& pairs);

/// vocab.json and merges.txt into a folder that is there, each whole or not at all.
void write_vocabulary(const std::string& folder, const BytePairs& pairs);

/// What write_clip_tokenizer() writes.
inline constexpr const char* clip_tokenizer_files[] = {"vocab.json", "merges.txt", "tokenizer_config.json",
                                                       "special_tokens_map.json"};

/// These, and what makes them a CLIPTokenizer to transformers: tokenizer_config.json,
/// special_tokens_map.json. context: tokens of the rows that the text tower reads; 0: not said.
void write_clip_tokenizer(const std::string& folder, const BytePairs& pairs, std::int64_t context = 0);

}  // namespace vitral::data
