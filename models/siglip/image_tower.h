// SigLIP's image tower (Zhai et al. 2023, arXiv 2303.15343; transformers, SiglipVisionModel), into the space
// that texts share; SigLIP 2's (Tschannen et al. 2025, arXiv 2502.14786) of a fixed resolution is the same,
// and its NaFlex tower (Siglip2VisionModel) on the square grid that it was saved with.
//
//   images [B,3,S,S] -> conv1 with bias [B,N,W]; + positional_embedding; transformer; ln_post;
//   head: one learned query attends to all tokens, x = attn(probe); x + mlp(ln(x)) -> [B,W]
//
// E is W.
#pragma once
#include <memory>
#include <string>

#include "data/weights/safetensors.h"
#include "models/towers.h"
#include "nn/patch_embedding.h"

namespace vitral::models {

/// Of SigLIP base, patches of 16.
ImageTowerConfig siglip_image_config();

/// The pooling of SigLIP: x [B,N,W] -> [B,W]. `weights`, where asked for: those of each token, averaged over
/// heads, [B,N].
class SiglipPooling : public nn::Module {
 public:
  SiglipPooling(const nn::BlockConfig& c, Random& random);
  Variable operator()(const Variable& x, Variable* weights = nullptr) const;

 private:
  std::int64_t heads_;
  nn::Parameter& probe_;           // [1,1,W]
  nn::Parameter& in_proj_weight_;  // [3 W,W]: q, k, v
  nn::Parameter& in_proj_bias_;    // [3 W]
  nn::Linear& out_proj_;
  nn::LayerNorm& ln_;
  nn::Mlp& mlp_;
};

class SiglipImageTower : public ImageTower {
 public:
  /// Fresh weights, a pure function of the seed.
  explicit SiglipImageTower(const ImageTowerConfig& config, std::uint64_t seed = 0);
  Output forward(const Variable& images, bool attention = false) const override;

 private:
  SiglipImageTower(const ImageTowerConfig& config, Random random);

  nn::PatchEmbedding& conv1_;
  nn::Parameter& positional_embedding_;  // [N,W]
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_post_;
  SiglipPooling& head_;
};

/// The tower of a checkpoint of SiglipModel, SiglipVisionModel, Siglip2Model or Siglip2VisionModel, on the
/// CPU. config: that of HuggingFaceConfig. UsageError naming `where` when it is not in there.
std::unique_ptr<ImageTower> load_siglip_image(const data::NamedTensors& tensors, const Metadata& config,
                                              const std::string& where);

}  // namespace vitral::models
