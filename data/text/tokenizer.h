// CLIP's tokeniser: byte-level byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) as openai/CLIP,
// clip/simple_tokenizer.py, has it: HTML entities undone twice, runs of white space to one space, lower case,
// split into words by Unicode classes, bytes as characters, merges by rank, "</w>" at the end of a word.
//
//   const Tokenizer tokenizer = Tokenizer::load("bpe_simple_vocab_16e6.txt.gz");
//   tokenizer.encode("a photo of a cat");               // {320, 1125, 539, 320, 2368}
//
// ftfy, which repairs mis-decoded text before all this, is left out.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

class Tokenizer {
 public:
  /// path: OpenAI's bpe_simple_vocab_16e6.txt.gz (also unpacked), a Hugging Face merges.txt (vocab.json
  /// beside it, if there, must agree), or a folder that holds one of them. UsageError: no such file; Error:
  /// damaged.
  static Tokenizer load(const std::string& path);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Token numbers without start and end. Bytes that are no UTF-8 become U+FFFD.
  std::vector<std::int64_t> encode(std::string_view text) const;
  /// The text of tokens, as simple_tokenizer.py's decode() gives it.
  std::string decode(const std::vector<std::int64_t>& tokens) const;
  /// int64 [T,context]: start, tokens, end, then zeros. A longer text is cut so that the end token is the
  /// last.
  Tensor encode(const std::vector<std::string>& texts, std::int64_t context = 77) const;

  std::int64_t size() const;  // of the vocabulary: 49408
  std::int64_t start_token() const { return size() - 2; }
  std::int64_t end_token() const { return size() - 1; }

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

}  // namespace vitral::data
