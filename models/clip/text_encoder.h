// CLIP's text tower and tokeniser, ready for texts.
//
//   const ClipTextEncoder text = ClipTextEncoder::load("clip-vit-base-patch32");
//   Tensor t = text.embed({"a photo of a cat"});                      // float32 [T,E]
//
// Weights: as those of models/clip/image_encoder.h.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/text/clip_tokenizer.h"
#include "models/clip/text_tower.h"

namespace vitral::models {

/// Prompts, each averaged over templates.
struct PromptEmbeddings {
  Tensor units;    // float32 [T,E], of unit length (zero where CLIP's are)
  Tensor lengths;  // float32 [T]: how long CLIP's embeddings were, averaged over the templates
};

class ClipTextEncoder {
 public:
  /// vocabulary: bpe_simple_vocab_16e6.txt.gz or a merges.txt (data/text/vocabulary.h); "": the one that lies
  /// beside the weights (in their folder). activation: "": from the configuration, else quick_gelu.
  /// UsageError or Error, one line, where there is none, where it does not belong to the weights, or where
  /// they have no text tower.
  static ClipTextEncoder load(const std::string& path, const std::string& vocabulary = "",
                              Device device = cpu, const std::string& activation = "");

  const ClipTextConfig& config() const { return tower_->config(); }

  /// Texts as they are -> float32 [T,E], not of unit length. UsageError: no texts; a text longer than the
  /// context is cut as CLIP's `truncate=True` does it.
  Tensor embed(const std::vector<std::string>& texts, std::int64_t batch = 64) const;
  /// Each prompt in each template, "{}" replaced by it; the unit embeddings of a prompt are averaged and
  /// brought to unit length again. templates empty: the prompts themselves, of unit length. UsageError: a
  /// template without "{}".
  PromptEmbeddings embed_prompts(const std::vector<std::string>& prompts,
                                 const std::vector<std::string>& templates = {},
                                 std::int64_t batch = 64) const;

 private:
  ClipTextEncoder(std::unique_ptr<ClipTextTower> tower, data::ClipTokenizer tokenizer, Device device)
      : tower_(std::move(tower)), tokenizer_(std::move(tokenizer)), device_(device) {}

  std::unique_ptr<ClipTextTower> tower_;
  data::ClipTokenizer tokenizer_;
  Device device_;
};

}  // namespace vitral::models
