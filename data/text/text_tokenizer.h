// What text towers are fed by: texts to rows of token numbers. data/text/clip_tokenizer.h is CLIP's,
// data/text/sentence_piece.h SigLIP's and SigLIP 2's.
//
//   const std::unique_ptr<TextTokenizer> tokenizer = ...;
//   Tensor tokens = tokenizer->encode({"a photo of a cat"}, 77);       // int64 [1,77]
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

class TextTokenizer {
 public:
  TextTokenizer() = default;
  TextTokenizer(TextTokenizer&&) = default;
  TextTokenizer& operator=(TextTokenizer&&) = default;
  virtual ~TextTokenizer() = default;

  virtual std::int64_t size() const = 0;  // of the vocabulary
  /// In front of each text, where there is one.
  virtual std::optional<std::int64_t> start_token() const = 0;
  virtual std::int64_t end_token() const = 0;
  virtual std::int64_t padding_token() const = 0;

  /// Token numbers without start and end. Bytes that are no UTF-8 become U+FFFD. UsageError: the text is too
  /// long to be tokenised at all.
  virtual std::vector<std::int64_t> encode(std::string_view text) const = 0;
  /// The rows that a tower of this context reads, int64 [T,context]: start, tokens, end, then padding. A
  /// longer text is cut so that the end token is the last. UsageError: no texts, no room for one token.
  Tensor encode(const std::vector<std::string>& texts, std::int64_t context) const;
};

/// What captions become where a text tower is trained.
struct CaptionTokens {
  std::shared_ptr<const TextTokenizer> tokenizer;  // null: captions are not wanted
  std::int64_t context = 0;                        // L, of the tower

  /// A row [L] as encode() gives it, but with -1 behind the end token: nothing is looked up, and nothing
  /// learned, for tokens that no text has.
  void write(const std::string& text, std::int64_t* row) const;
};

}  // namespace vitral::data
