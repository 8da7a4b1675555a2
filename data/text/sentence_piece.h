// The tokenisers of SigLIP and SigLIP 2: pieces of SentencePiece (Kudo and Richardson 2018, arXiv 1808.06226)
// through its library, and what transformers (5.24: SiglipTokenizer, Siglip2Tokenizer) does around it.
//
//   const SentencePieceTokenizer tokenizer = SentencePieceTokenizer::load("siglip-base-patch16-224");
//   tokenizer.encode({"a photo of a cat"}, 64);         // int64 [1,64]: the pieces, </s>, padding
//
// SigLIP (spiece.model, unigram): lower case, the punctuation of ASCII removed, runs of white space made one
// space and those at both ends removed. </s> ends a text and pads it.
// SigLIP 2 (Gemma's tokenizer.model, byte pairs with a fallback to bytes): lower case and nothing else. <eos>
// ends a text, <pad> pads it, both on the right, as its published tokenizer_config.json says; no <bos>.
// Special tokens (</s>, <unk>; of SigLIP 2 all control and user-defined pieces) that are written in a text
// become themselves, before letters are lowered.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/text_tokenizer.h"

namespace vitral::data {

class SentencePieceTokenizer final : public TextTokenizer {
 public:
  /// path: a model of SentencePiece, a tokenizer.json of SigLIP 2's kind, or a folder with spiece.model,
  /// tokenizer.model or tokenizer.json. Which of the two
  /// tokenisers it is follows from the model: unigram with </s>, or byte pairs with <eos> and <pad>.
  /// UsageError: no such file, or neither of the two; Error: damaged.
  static SentencePieceTokenizer load(const std::string& path);
  SentencePieceTokenizer(SentencePieceTokenizer&&) noexcept;
  SentencePieceTokenizer& operator=(SentencePieceTokenizer&&) noexcept;
  ~SentencePieceTokenizer() override;

  using TextTokenizer::encode;
  /// UsageError: more than 64 KB.
  std::vector<std::int64_t> encode(std::string_view text) const override;

  std::int64_t size() const override;
  std::optional<std::int64_t> start_token() const override { return {}; }
  std::int64_t end_token() const override;
  std::int64_t padding_token() const override;

 private:
  struct State;
  explicit SentencePieceTokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

/// Where the model lies: the path itself, or in a folder spiece.model, tokenizer.model or tokenizer.json.
/// UsageError: nothing there.
std::string find_piece_model(const std::string& path);

}  // namespace vitral::data
