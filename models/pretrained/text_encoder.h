// A pretrained text tower and its tokeniser, ready for texts.
//
//   const TextEncoder text = TextEncoder::load("clip-vit-base-patch32");
//   Tensor t = text.embed({"a photo of a cat"});                      // float32 [T,E]
//
// Weights: as those of models/pretrained/image_encoder.h.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/text/text_tokenizer.h"
#include "models/pretrained/image_encoder.h"

namespace vitral::models {

/// UsageError naming its place and the weights, where a vocabulary of `tokens` is not that of the tower.
void check_vocabulary(std::int64_t tokens, const std::string& place, const TextTowerConfig& tower,
                      const std::string& weights);

/// Prompts, each averaged over templates.
struct PromptEmbeddings {
  Tensor units;    // float32 [T,E], of unit length (zero where the tower's are)
  Tensor lengths;  // float32 [T]: how long the tower's embeddings were, averaged over the templates
};

class TextEncoder {
 public:
  /// vocabulary: the tokeniser's file, or a folder that holds it; "": the one that lies beside the weights
  /// (Checkpoint::vocabulary). UsageError or Error, one line, where there is none, where it does not belong
  /// to the weights, or where they have no text tower.
  static TextEncoder load(const std::string& path, const std::string& vocabulary = "", Device device = cpu,
                          const TowerChoices& choices = {});

  const TextTowerConfig& config() const { return tower_->config(); }
  /// As ImageEncoder's.
  std::string description() const { return describe(family_, config().block); }
  const std::string& guessed() const { return guessed_; }

  /// Texts as they are -> float32 [T,E], not of unit length. UsageError: no texts; a text longer than the
  /// context is cut as the family does it.
  Tensor embed(const std::vector<std::string>& texts, std::int64_t batch = 64) const;
  /// Each prompt in each template, "{}" replaced by it; the unit embeddings of a prompt are averaged and
  /// brought to unit length again. templates empty: the prompts themselves, of unit length. UsageError: a
  /// template without "{}".
  PromptEmbeddings embed_prompts(const std::vector<std::string>& prompts,
                                 const std::vector<std::string>& templates = {},
                                 std::int64_t batch = 64) const;

 private:
  TextEncoder() = default;

  std::unique_ptr<TextTower> tower_;
  std::unique_ptr<data::TextTokenizer> tokenizer_;
  std::string_view family_;
  std::string guessed_;
};

}  // namespace vitral::models
