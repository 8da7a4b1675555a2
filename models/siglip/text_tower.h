// SigLIP's text tower (Zhai et al. 2023, arXiv 2303.15343; transformers, SiglipTextModel), into the space
// that images share; SigLIP 2's is the same.
//
//   tokens [T,L] -> token_embedding [T,L,W]; + positional_embedding; transformer without a mask; ln_final of
//   the last token, which is padding in all but the longest texts; head, with bias -> [T,E]
#pragma once
#include <map>
#include <memory>
#include <string>

#include "data/weights/safetensors.h"
#include "nn/block.h"

namespace vitral::models {

struct SiglipTextConfig {
  int context = 64;  // L
  int vocabulary = 32000;
  nn::BlockConfig block{.width = 768, .heads = 12, .activation = nn::Activation::gelu, .eps = 1e-6};
  int layers = 12;
  int embedding = 768;  // E
};

class SiglipTextTower : public nn::Module {
 public:
  /// Fresh weights, a pure function of the seed.
  explicit SiglipTextTower(const SiglipTextConfig& config, std::uint64_t seed = 0);

  /// tokens int64 [T,L] on the CPU, padded to the whole context: every token is seen by the last -> [T,E].
  Variable forward(const Tensor& tokens) const;
  const SiglipTextConfig& config() const { return config_; }

 private:
  SiglipTextTower(const SiglipTextConfig& config, Random random);

  SiglipTextConfig config_;
  nn::Parameter& positional_embedding_;  // [L,W]
  nn::Parameter& token_embedding_;       // [vocabulary,W]
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_final_;
  nn::Linear& head_;
};

/// As load_siglip_image(), of SiglipModel, SiglipTextModel and Siglip2Model.
std::unique_ptr<SiglipTextTower> load_siglip_text(const data::NamedTensors& tensors,
                                                  const std::map<std::string, std::string>& config,
                                                  const std::string& where);

}  // namespace vitral::models
