// SigLIP's text tower (Zhai et al. 2023, arXiv 2303.15343; transformers, SiglipTextModel), into the space
// that images share; SigLIP 2's is the same.
//
//   tokens [T,L] -> token_embedding [T,L,W]; + positional_embedding; transformer without a mask; ln_final of
//   the last token, which is padding in all but the longest texts; head, with bias -> [T,E]
#pragma once
#include <memory>
#include <string>

#include "data/weights/safetensors.h"
#include "models/towers.h"

namespace vitral::models {

/// Of SigLIP base.
TextTowerConfig siglip_text_config();

class SiglipTextTower : public TextTower {
 public:
  /// Fresh weights, a pure function of the seed.
  explicit SiglipTextTower(const TextTowerConfig& config, std::uint64_t seed = 0);

  /// tokens [T,L], padded to the whole context: the last token sees every one.
  Variable forward(const Tensor& tokens) const override;

 private:
  SiglipTextTower(const TextTowerConfig& config, Random random);

  nn::Parameter& positional_embedding_;  // [L,W]
  nn::Parameter& token_embedding_;       // [vocabulary,W]
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_final_;
  nn::Linear& head_;
};

/// As load_siglip_image(), of SiglipModel, SiglipTextModel and Siglip2Model.
std::unique_ptr<TextTower> load_siglip_text(const data::NamedTensors& tensors, const Metadata& config,
                                            const std::string& where);

}  // namespace vitral::models
