// CLIP's text tower (Radford et al. 2021, arXiv 2103.00020; openai/CLIP, clip/model.py, CLIP.encode_text),
// into the space of width E that images share.
//
//   tokens [T,L] -> token_embedding [T,L,W]; + positional_embedding; transformer, in which no token sees a
//   later one; ln_final at the end-of-text token (the largest number); times text_projection [W,E] -> [T,E]
//
// Embeddings are as CLIP gives them, not of unit length. Parameters have OpenAI's names.
#pragma once
#include "nn/block.h"

namespace vitral::models {

struct ClipTextConfig {
  int context = 77;  // L, with the start and end tokens
  int vocabulary = 49408;
  int width = 512;  // W
  int layers = 12;
  int heads = 8;
  int embedding = 512;  // E
  nn::Activation activation = nn::Activation::quick_gelu;

  bool operator==(const ClipTextConfig&) const = default;
};

class ClipTextTower : public nn::Module {
 public:
  /// Fresh weights, a pure function of the seed. UsageError where the sizes do not fit each other.
  explicit ClipTextTower(const ClipTextConfig& config, std::uint64_t seed = 0);

  /// tokens int64 [T,L'] on the CPU, L' <= L (what comes after the end token makes no difference), each row
  /// with an end-of-text token, which is the largest number of the vocabulary -> [T,E].
  Variable forward(const Tensor& tokens) const;
  const ClipTextConfig& config() const { return config_; }

 private:
  ClipTextTower(const ClipTextConfig& config, Random random);

  ClipTextConfig config_;
  nn::Parameter& positional_embedding_;  // [L,W]
  nn::Parameter& text_projection_;       // [W,E]
  nn::Parameter& token_embedding_;       // [vocabulary,W]
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_final_;
};

}  // namespace vitral::models
