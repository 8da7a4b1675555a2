// The files that hold CLIP's vocabulary.
#pragma once
#include <string>

#include "data/text/byte_pairs.h"

namespace vitral::data {

/// Where the vocabulary lies: the path itself, or in a folder merges.txt, bpe_simple_vocab_16e6.txt.gz,
/// bpe_simple_vocab_16e6.txt or tokenizer.json. UsageError: nothing there.
std::string find_vocabulary(const std::string& path);

/// A list of merges, one a line, two tokens a merge, after a first line that says what it is: OpenAI's
/// bpe_simple_vocab_16e6.txt.gz, also unpacked, or Hugging Face's merges.txt. Of a longer list the first
/// 48,894 merges count, as CLIP takes them. A vocab.json beside a merges.txt must have the same tokens and
/// numbers, where it is there.
/// Or a tokenizer.json of Hugging Face's `tokenizers`, the only file that transformers 5 writes: its merges
/// ("a b" or ["a", "b"]) and its numbers, where it prepares texts as CLIP's does.
/// UsageError: no such file, or of another kind; Error: damaged.
BytePairs read_vocabulary(const std::string& path);

}  // namespace vitral::data
