// CLIP's two towers (Radford et al. 2021, arXiv 2103.00020; openai/CLIP, clip/model.py): images and texts
// into one space of width E. What a student learns from.
//
// image   images [B,3,S,S] -> conv1 [B,N,W]; class_embedding before them [B,1+N,W]; + positional_embedding;
//         ln_pre; transformer; ln_post of the class token; times proj [W,E]                     -> [B,E]
// text    tokens [T,L] -> token_embedding [T,L,W]; + positional_embedding; transformer, in which no token
// sees
//         a later one; ln_final at the end-of-text token (the largest number); times text_projection -> [T,E]
//
// Embeddings are as CLIP gives them, not of unit length. Parameters have OpenAI's names, those of the image
// tower without "visual.".
#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

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

class ClipImage : public nn::Module {
 public:
  /// Fresh weights, a pure function of the seed. UsageError where the sizes do not fit each other.
  explicit ClipImage(const ClipImageConfig& config, std::uint64_t seed = 0);

  struct Output {
    Variable embedding;  // [B,E]
    Variable attention;  // [B,1+N,1+N]: weights of the last block, averaged over heads; where asked for
  };
  /// images [B,3,S,S], normalised as normalize_pixels() does it.
  Output forward(const Variable& images, bool attention = false) const;
  const ClipImageConfig& config() const { return config_; }

 private:
  ClipImage(const ClipImageConfig& config, Random random);

  ClipImageConfig config_;
  nn::PatchEmbedding& conv1_;
  nn::Parameter& class_embedding_;       // [W]
  nn::Parameter& positional_embedding_;  // [1+N,W]
  nn::LayerNorm& ln_pre_;
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_post_;
  nn::Parameter& proj_;  // [W,E]
};

struct ClipTextConfig {
  int context = 77;  // L, with the start and end tokens
  int vocabulary = 49408;
  int width = 512;  // W
  int layers = 12;
  int heads = 8;
  int embedding = 512;  // E
  nn::Activation activation = nn::Activation::quick_gelu;

  bool operator==(const ClipTextConfig&) const = default;
};

class ClipText : public nn::Module {
 public:
  explicit ClipText(const ClipTextConfig& config, std::uint64_t seed = 0);

  /// tokens int64 [T,L'] on the CPU, L' <= L (what comes after the end token makes no difference), each row
  /// with an end-of-text token, which is the largest number of the vocabulary -> [T,E].
  Variable forward(const Tensor& tokens) const;
  const ClipTextConfig& config() const { return config_; }

 private:
  ClipText(const ClipTextConfig& config, Random random);

  ClipTextConfig config_;
  nn::Parameter& positional_embedding_;  // [L,W]
  nn::Parameter& text_projection_;       // [W,E]
  nn::Parameter& token_embedding_;       // [vocabulary,W]
  nn::Transformer& transformer_;
  nn::LayerNorm& ln_final_;
};

using State = std::vector<std::pair<std::string, Tensor>>;
using Metadata = std::map<std::string, std::string>;

/// The parts of a CLIP checkpoint, each empty where it is not there, under the names of the modules above.
/// From OpenAI's names (both towers, or an image tower alone without "visual.") and from Hugging Face's,
/// whose q, k and v are stacked and whose projections are transposed; position_ids, logit_scale and OpenAI's
/// three numbers are left out. UsageError naming `where` when it is neither, or when a part of q, k, v is
/// missing.
struct ClipState {
  State image, text;
};
ClipState split_clip_state(const State& state, const std::string& where);

/// The sizes of a tower from its tensors. heads = width / 64 unless `metadata` (of
/// models::read_clip_weights(): the numbers and texts of Hugging Face's config.json) or `heads` say
/// otherwise; the activation is quick_gelu unless metadata says "gelu". UsageError naming `where` when the
/// tensors are no such tower.
ClipImageConfig infer_clip_image_config(const State& image, const Metadata& metadata,
                                        const std::string& where, int heads = 0);
ClipTextConfig infer_clip_text_config(const State& text, const Metadata& metadata, const std::string& where,
                                      int heads = 0);

/// A tower with the weights of a checkpoint, on the CPU (see nn::Module::share_state). UsageError naming
/// `where` when it is not in there.
std::unique_ptr<ClipImage> load_clip_image(const State& state, const Metadata& metadata,
                                           const std::string& where, int heads = 0);
std::unique_ptr<ClipText> load_clip_text(const State& state, const Metadata& metadata,
                                         const std::string& where, int heads = 0);

}  // namespace vitral::models
