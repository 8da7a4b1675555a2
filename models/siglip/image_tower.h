// SigLIP's image tower (Zhai et al. 2023, arXiv 2303.15343; transformers, SiglipVisionModel), into the space
// that texts share; SigLIP 2's (Tschannen et al. 2025, arXiv 2502.14786) of a fixed resolution is the same,
// and its NaFlex tower (Siglip2VisionModel) on the square grid that it was saved with.
//
//   images [B,3,S,S] -> conv1 with bias [B,N,W]; + positional_embedding; transformer; ln_post;
//   head: one learned query attends to all tokens, x = attn(probe); x + mlp(ln(x)) -> [B,W]
//
// Embeddings are as SigLIP gives them, not of unit length.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "data/weights/safetensors.h"
#include "nn/block.h"
#include "nn/patch_embedding.h"

namespace vitral::models {

struct SiglipImageConfig {
  int image_size = 224;
  int patch_size = 16;
  nn::BlockConfig block{.width = 768, .heads = 12, .activation = nn::Activation::gelu, .eps = 1e-6};
  int layers = 12;

  int grid() const { return image_size / patch_size; }
};

/// The pooling of SigLIP: x [B,N,W] -> [B,W].
class SiglipPooling : public nn::Module {
 public:
  SiglipPooling(const nn::BlockConfig& c, Random& random);
  Variable operator()(const Variable& x) const;

 private:
  std::int64_t heads_;
  nn::Parameter& probe_;           // [1,1,W]
  nn::Parameter& in_proj_weight_;  // [3 W,W]: q, k, v
  nn::Parameter& in_proj_bias_;    // [3 W]
  nn::Linear& out_proj_;
  nn::LayerNorm& ln_;
  nn::Mlp& mlp_;
};

class SiglipImageTower : public nn::Module {
 public:
  /// Fresh weights, a pure function of the seed. UsageError where the sizes do not fit each other.
  explicit SiglipImageTower(const SiglipImageConfig& config, std::uint64_t seed = 0);

  /// images [B,3,S,S], normalised with mean and standard deviation 0.5 (or what preprocessor_config.json
  /// says) -> [B,W].
  Variable forward(const Variable& images) const;
  const SiglipImageConfig& config() const { return config_; }

 private:
  SiglipImageTower(const SiglipImageConfig& config, Random random);

  SiglipImageConfig config_;
  nn::PatchEmbedding& conv1_;
  nn::Parameter& positional_embedding_;  // [N,W]
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_post_;
  SiglipPooling& head_;
};

/// The tower of a checkpoint of SiglipModel, SiglipVisionModel, Siglip2Model or Siglip2VisionModel, on the
/// CPU. config: that of HuggingFaceConfig. UsageError naming `where` when it is not in there.
std::unique_ptr<SiglipImageTower> load_siglip_image(const data::NamedTensors& tensors,
                                                    const std::map<std::string, std::string>& config,
                                                    const std::string& where);

}  // namespace vitral::models
