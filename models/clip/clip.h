// CLIP (Radford et al. 2021, arXiv 2103.00020; openai/CLIP, clip/model.py, CLIP): both towers and the
// temperature of their cosines as one model that is trained.
//
//   parameters     visual.* (models/clip/image_tower.h), those of models/clip/text_tower.h without a prefix,
//                  logit_scale [1], the logarithm of what cosines are multiplied with
//   fresh weights  as openai/CLIP, CLIP.initialize_parameters(), draws them
#pragma once
#include <string>

#include "models/clip/config.h"
#include "models/clip/image_tower.h"
#include "models/clip/text_tower.h"

namespace vitral::models {

ImageTowerConfig clip_image_config(const ClipConfig& config);
TextTowerConfig clip_text_config(const ClipConfig& config);

class Clip : public nn::Module {
 public:
  /// Fresh weights, a pure function of the seed. UsageError: sizes that do not fit each other, a vocabulary
  /// of unknown size.
  explicit Clip(const ClipConfig& config, std::uint64_t seed = 0);

  /// Both give [B,E], not of unit length, in the dtype of the weights. patches: pixel_patches() of
  /// models/pixels.h, in what the tower computes; tokens int64 [B,L], -1 behind the end-of-text token.
  Variable embed_images(const Variable& patches) const { return visual_.embed(patches); }
  Variable embed_texts(const Tensor& tokens, DType dtype = DType::float32) const {
    return text_.embed(tokens, dtype);
  }
  const Variable& logit_scale() const { return logit_scale_; }  // [1]
  const ClipTextTower& text() const { return text_; }
  const ClipConfig& config() const { return config_; }

 private:
  ClipConfig config_;
  ClipTextTower& text_;
  nn::Parameter& logit_scale_;
  ClipImageTower& visual_;
};

/// What a CLIP's tensors, under any names that models/clip/names.h knows, and the configuration beside them
/// tell of its sizes. UsageError naming `where`: they hold no CLIP, or one whose blocks are not those of Clip
/// (another activation, another width of the MLP).
ClipConfig infer_clip_config(const data::NamedTensors& tensors, const Metadata& config,
                             const std::string& where);

/// The weights of a CLIP that was trained elsewhere (models/pretrained/checkpoint.h), under the names of a
/// Clip of this configuration; logit_scale that of a fresh one where it is left out. What the files do not
/// say and is taken as in OpenAI's models adds a line to `warnings`. UsageError naming path: no CLIP, or not
/// of these sizes.
data::NamedTensors pretrained_clip(const std::string& path, const ClipConfig& config,
                                   std::vector<std::string>& warnings);

}  // namespace vitral::models
