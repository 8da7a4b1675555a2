// CLIP's image tower (Radford et al. 2021, arXiv 2103.00020; openai/CLIP, clip/model.py, VisionTransformer),
// into the space of width E that texts share. What a student learns from.
//
//   images [B,3,S,S] -> conv1 [B,N,W]; class_embedding before them [B,1+N,W]; + positional_embedding; ln_pre;
//   transformer; ln_post of the class token; times proj [W,E] -> [B,E]
//
// Embeddings are as CLIP gives them, not of unit length. Parameters have OpenAI's names without "visual.".
#pragma once
#include "nn/block.h"
#include "nn/patch_embedding.h"

namespace vitral::models {

struct ClipImageConfig {
  int image_size = 224;
  int patch_size = 32;
  int width = 768;  // W
  int layers = 12;
  int heads = 12;
  int embedding = 512;  // E
  nn::Activation activation = nn::Activation::quick_gelu;

  int grid() const { return image_size / patch_size; }
  int tokens() const { return grid() * grid(); }  // N
  bool operator==(const ClipImageConfig&) const = default;
};

class ClipImageTower : public nn::Module {
 public:
  /// Fresh weights, a pure function of the seed. UsageError where the sizes do not fit each other.
  explicit ClipImageTower(const ClipImageConfig& config, std::uint64_t seed = 0);

  struct Output {
    Variable embedding;  // [B,E]
    Variable attention;  // [B,1+N,1+N]: weights of the last block, averaged over heads; where asked for
  };
  /// images [B,3,S,S], normalised as normalize_pixels() does it.
  Output forward(const Variable& images, bool attention = false) const;
  const ClipImageConfig& config() const { return config_; }

 private:
  ClipImageTower(const ClipImageConfig& config, Random random);

  ClipImageConfig config_;
  nn::PatchEmbedding& conv1_;
  nn::Parameter& class_embedding_;       // [W]
  nn::Parameter& positional_embedding_;  // [1+N,W]
  nn::LayerNorm& ln_pre_;
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_post_;
  nn::Parameter& proj_;  // [W,E]
};

}  // namespace vitral::models
