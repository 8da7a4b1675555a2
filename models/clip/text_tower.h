// CLIP's text tower (Radford et al. 2021, arXiv 2103.00020; openai/CLIP, clip/model.py, CLIP.encode_text),
// into the space of width E that images share.
//
//   tokens [T,L] -> token_embedding [T,L,W]; + positional_embedding; transformer, in which no token sees a
//   later one; ln_final at the end-of-text token (the largest number); times text_projection [W,E] -> [T,E]
//
// Parameters have OpenAI's names.
#pragma once
#include <memory>

#include "data/weights/safetensors.h"
#include "models/towers.h"

namespace vitral::models {

/// Of ViT-B/32.
TextTowerConfig clip_text_config();

class ClipTextTower : public TextTower {
 public:
  /// Fresh weights, a pure function of the seed.
  explicit ClipTextTower(const TextTowerConfig& config, std::uint64_t seed = 0);

  /// tokens [T,L'], L' <= L: each row with an end-of-text token, which is the largest number of the
  /// vocabulary. What comes after it makes no difference, and what comes after it in all rows no work.
  Variable forward(const Tensor& tokens) const override;
  /// The same for tokens that may lie where the tower is: on a GPU all columns of them are computed, and
  /// nothing waits. -1 is no token. Activations are `dtype`; the projection, and so the embedding, is in the
  /// weights' own.
  Variable embed(const Tensor& tokens, DType dtype) const;

 private:
  ClipTextTower(const TextTowerConfig& config, Random random);

  nn::Parameter& positional_embedding_;  // [L,W]
  nn::Parameter& text_projection_;       // [W,E]
  nn::Parameter& token_embedding_;       // [vocabulary,W]
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_final_;
};

/// As load_clip_image().
std::unique_ptr<TextTower> load_clip_text(const data::NamedTensors& tensors, const Metadata& config,
                                          const std::string& where);

}  // namespace vitral::models
