// CLIP's tokeniser: byte-level byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) as openai/CLIP,
// clip/simple_tokenizer.py, has it: HTML entities undone twice, runs of white space to one space, lower case,
// split into words by Unicode classes, bytes as characters, merges by rank, "</w>" at the end of a word.
//
//   const ClipTokenizer tokenizer = ClipTokenizer::load("bpe_simple_vocab_16e6.txt.gz");
//   tokenizer.encode("a photo of a cat");               // {320, 1125, 539, 320, 2368}
//
// ftfy, which repairs mis-decoded text before all this, is left out.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/text_tokenizer.h"

namespace vitral::data {

class BytePairs;

class ClipTokenizer final : public TextTokenizer {
 public:
  /// path: OpenAI's bpe_simple_vocab_16e6.txt.gz (also unpacked), a Hugging Face merges.txt (vocab.json
  /// beside it, if there, must agree), or a folder that holds one of them. UsageError: no such file; Error:
  /// damaged.
  static ClipTokenizer load(const std::string& path);
  /// Of a vocabulary that is read, or was learned.
  explicit ClipTokenizer(BytePairs pairs);
  ClipTokenizer(ClipTokenizer&&) noexcept;
  ClipTokenizer& operator=(ClipTokenizer&&) noexcept;
  ~ClipTokenizer() override;

  using TextTokenizer::encode;  // its padding is 0
  std::vector<std::int64_t> encode(std::string_view text) const override;
  /// The text of tokens, as simple_tokenizer.py's decode() gives it.
  std::string decode(const std::vector<std::int64_t>& tokens) const;

  std::int64_t size() const override;  // 49408 of OpenAI's
  std::optional<std::int64_t> start_token() const override { return size() - 2; }
  std::int64_t end_token() const override { return size() - 1; }
  std::int64_t padding_token() const override { return 0; }

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

}  // namespace vitral::data
