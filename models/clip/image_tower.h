// CLIP's image tower (Radford et al. 2021, arXiv 2103.00020; openai/CLIP, clip/model.py, VisionTransformer),
// into the space of width E that texts share. What a student learns from.
//
//   images [B,3,S,S] -> conv1 [B,N,W]; class_embedding before them [B,1+N,W]; + positional_embedding; ln_pre;
//   transformer; ln_post of the class token; times proj [W,E] -> [B,E]
//
// Its dense tokens are patch tokens that go through ln_post and proj (DenseTokens of models/towers.h).
//
// Parameters have OpenAI's names without "visual.".
#pragma once
#include <memory>

#include "data/weights/safetensors.h"
#include "models/towers.h"
#include "nn/patch_embedding.h"

namespace vitral::models {

/// Of ViT-B/32.
ImageTowerConfig clip_image_config();

class ClipImageTower : public ImageTower {
 public:
  /// Fresh weights, a pure function of the seed.
  explicit ClipImageTower(const ImageTowerConfig& config, std::uint64_t seed = 0);
  Output forward(const Variable& images, bool attention = false) const override;
  bool has_dense() const override { return true; }
  Variable dense(const Variable& images, DenseTokens way) const override;
  /// The embedding alone, from pixel_patches() of models/pixels.h: what training needs. In their dtype; the
  /// projection, and so the embedding, is in that of the weights.
  Variable embed(const Variable& patches) const;

 private:
  ClipImageTower(const ImageTowerConfig& config, Random random);
  Variable patches_of(const Variable& images) const;
  Variable tokens_of(const Variable& patches) const;  // [B,1+N,W], as the transformer gets them
  Variable project(const Variable& x) const;          // ln_post and proj, [...,W] -> [...,E]

  nn::PatchEmbedding& conv1_;
  nn::Parameter& class_embedding_;       // [W]
  nn::Parameter& positional_embedding_;  // [1+N,W]
  nn::LayerNorm& ln_pre_;
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_post_;
  nn::Parameter& proj_;      // [W,E]
  mutable Variable window_;  // NACLIP's, see constant.h
};

/// The tower of a checkpoint with OpenAI's, open_clip's or transformers' names, on the CPU. Sizes from the
/// tensors, heads, activation and eps as `config` says, else as OpenAI's are: width / 64 heads and QuickGELU.
/// UsageError naming `where`: it is not in there, has no projection into the space of texts.
std::unique_ptr<ImageTower> load_clip_image(const data::NamedTensors& tensors, const Metadata& config,
                                            const std::string& where);

}  // namespace vitral::models
