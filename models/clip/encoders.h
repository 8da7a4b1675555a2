// CLIP, ready for images and texts.
//
//   const ClipImageEncoder teacher = ClipImageEncoder::load("clip-vit-base-patch32");
//   Tensor y = teacher.encode(images);                                // uint8 [B,S,S,3] -> float32 [B,E]
//   const ClipTextEncoder text = ClipTextEncoder::load("clip-vit-base-patch32");
//   Tensor t = text.encode({"a photo of a cat"});                     // float32 [T,E]
//
// Weights: a Hugging Face folder, a .safetensors or .pt file, OpenAI's archives (models/clip/weights.h).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/text/tokenizer.h"
#include "models/clip/towers.h"

namespace vitral::models {

class ClipImageEncoder {
 public:
  /// heads: 0: from config.json, else width / 64. UsageError or Error, one line, where that does not give an
  /// image tower.
  static ClipImageEncoder load(const std::string& path, Device device = cpu, int heads = 0);

  const ClipImageConfig& config() const { return tower_->config(); }
  Device device() const { return device_; }

  /// images uint8 [B,S,S,3] on the CPU, S = config().image_size; the embeddings float32 [B,E], not of unit
  /// length, are there, too, pinned where the tower is on a GPU. Computes in pieces of at most `batch`
  /// images.
  Tensor encode(const Tensor& images, std::int64_t batch = 64) const;
  /// What the class token attends to in the last block, averaged over heads: float32 [B,N], row-major over
  /// the grid. Without its weight on itself; rows sum to less than 1.
  Tensor class_attention(const Tensor& images, std::int64_t batch = 64) const;

 private:
  ClipImageEncoder(std::unique_ptr<ClipImage> tower, Device device)
      : tower_(std::move(tower)), device_(device) {}

  std::unique_ptr<ClipImage> tower_;
  Device device_;
};

/// Prompts, each averaged over templates.
struct PromptEmbeddings {
  Tensor units;    // float32 [T,E], of unit length (zero where CLIP's are)
  Tensor lengths;  // float32 [T]: how long CLIP's embeddings were, averaged over the templates
};

class ClipTextEncoder {
 public:
  /// vocabulary: bpe_simple_vocab_16e6.txt.gz or a merges.txt (data/text/vocabulary.h); "": the one that lies
  /// beside the weights (in their folder). UsageError or Error, one line, where there is none, where it does
  /// not belong to the weights, or where they have no text tower.
  static ClipTextEncoder load(const std::string& path, const std::string& vocabulary = "",
                              Device device = cpu);

  const ClipTextConfig& config() const { return tower_->config(); }

  /// Texts as they are -> float32 [T,E], not of unit length. UsageError: no texts; a text longer than the
  /// context is cut as CLIP's `truncate=True` does it.
  Tensor encode(const std::vector<std::string>& texts, std::int64_t batch = 64) const;
  /// Each prompt in each template, "{}" replaced by it; the unit embeddings of a prompt are averaged and
  /// brought to unit length again: float32 [T,E]. templates empty: the prompts themselves, of unit length.
  /// UsageError: a template without "{}".
  Tensor encode_prompts(const std::vector<std::string>& prompts,
                        const std::vector<std::string>& templates = {}, std::int64_t batch = 64) const;
  PromptEmbeddings encode_with_lengths(const std::vector<std::string>& prompts,
                                       const std::vector<std::string>& templates = {},
                                       std::int64_t batch = 64) const;

 private:
  ClipTextEncoder(std::unique_ptr<ClipText> tower, data::Tokenizer tokenizer, Device device)
      : tower_(std::move(tower)), tokenizer_(std::move(tokenizer)), device_(device) {}

  std::unique_ptr<ClipText> tower_;
  data::Tokenizer tokenizer_;
  Device device_;
};

}  // namespace vitral::models
