// CLIP's towers out of the tensors of a checkpoint, by name and shape: OpenAI's names are those of the
// modules, Hugging Face's are brought to them.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/clip/image_tower.h"
#include "models/clip/text_tower.h"

namespace vitral::models {

using State = std::vector<std::pair<std::string, Tensor>>;
using Metadata = std::map<std::string, std::string>;

/// The parts of a CLIP checkpoint, each empty where it is not there, under the names of the towers' modules.
/// From OpenAI's names (both towers, or an image tower alone without "visual.") and from Hugging Face's,
/// whose q, k and v are stacked and whose projections are transposed; position_ids, logit_scale and OpenAI's
/// three numbers are left out. UsageError naming `where` when it is neither, or when a part of q, k, v is
/// missing.
struct ClipState {
  State image, text;
};
ClipState split_clip_state(const State& state, const std::string& where);

/// The sizes of a tower from its tensors. heads = width / 64 unless `metadata` (of read_clip_weights(): the
/// numbers and texts of Hugging Face's config.json) or `heads` say otherwise; the activation is quick_gelu
/// unless metadata says "gelu". UsageError naming `where` when the tensors are no such tower.
ClipImageConfig infer_clip_image_config(const State& image, const Metadata& metadata,
                                        const std::string& where, int heads = 0);
ClipTextConfig infer_clip_text_config(const State& text, const Metadata& metadata, const std::string& where,
                                      int heads = 0);

/// A tower with the weights of a checkpoint, on the CPU (see nn::Module::share_state). UsageError naming
/// `where` when it is not in there.
std::unique_ptr<ClipImageTower> load_clip_image(const State& state, const Metadata& metadata,
                                                const std::string& where, int heads = 0);
std::unique_ptr<ClipTextTower> load_clip_text(const State& state, const Metadata& metadata,
                                              const std::string& where, int heads = 0);

}  // namespace vitral::models
