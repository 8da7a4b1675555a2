// DINOv2's image tower (Oquab et al. 2023, arXiv 2304.07193; with registers: Darcet et al. 2023, arXiv
// 2309.16588; transformers, Dinov2Model), a teacher whose space no text shares.
//
//   images [B,3,S,S] -> conv1 with bias [B,N,W]; class_embedding before them [B,1+N,W]; +
//   positional_embedding; R registers after the class token; transformer; ln_post of the class token -> [B,W]
//
// LayerScale has no module: its factors are multiplied into the layers before it when weights are loaded.
#pragma once
#include <memory>
#include <string>

#include "data/weights/safetensors.h"
#include "models/towers.h"
#include "nn/patch_embedding.h"

namespace vitral::models {

/// Of DINOv2 base, on images of 224 pixels.
ImageTowerConfig dinov2_config();

class Dinov2Tower : public ImageTower {
 public:
  /// Fresh weights, a pure function of the seed.
  explicit Dinov2Tower(const ImageTowerConfig& config, std::uint64_t seed = 0);
  Output forward(const Variable& images, bool attention = false) const override;

 private:
  Dinov2Tower(const ImageTowerConfig& config, Random random);

  nn::PatchEmbedding& conv1_;
  nn::Parameter& class_embedding_;       // [W]
  nn::Parameter& positional_embedding_;  // [1+N,W]
  nn::Parameter* registers_;             // [R,W], null without
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_post_;
};

/// The tower of a checkpoint of Dinov2Model or Dinov2WithRegistersModel, on the CPU, for images of `size`
/// pixels (0: those of its positions, 518 in the published ones). For another size positions are resized as
/// transformers does it: bicubic (a = -0.75), without antialias; with it where the model has registers.
/// UsageError naming `where`: not in there, a SwiGLU MLP (the giant ones), a size that the patch does not
/// divide.
std::unique_ptr<ImageTower> load_dinov2(const data::NamedTensors& tensors, const Metadata& config,
                                        const std::string& where, int size = 0);

}  // namespace vitral::models
