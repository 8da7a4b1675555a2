// CLIP's objective: of the images and captions of a batch, those that belong together find each other.
//
//   features [B,2 E]   the embedding of an image, beside it that of its caption
//   info_nce           the loss over those of a whole batch (info_nce in autograd/ops.h), with the model's
//                      logit_scale
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "models/clip/clip.h"
#include "models/objective.h"

namespace vitral::models {

class Contrastive : public Objective {
 public:
  /// A CLIP with fresh weights, on the CPU. config.text.vocabulary_size is the tokeniser's size, which may be
  /// null where nobody asks for captions(). freeze: of "image" and "text", the towers that stay as they are
  /// (Zhai et al. 2021, arXiv 2111.07991). UsageError: another word, sizes that do not fit each other.
  explicit Contrastive(const ClipConfig& config, std::shared_ptr<const data::TextTokenizer> tokenizer = {},
                       std::uint64_t seed = 0, const std::vector<std::string>& freeze = {});

  Clip& model() override { return clip_; }
  std::map<std::string, std::string> metadata() const override { return to_metadata(clip_.config()); }
  std::map<std::string, std::string> metadata_in(const std::map<std::string, std::string>& file,
                                                 const std::string& where) const override;
  std::map<std::string, std::string> metadata_of(const std::vector<std::pair<std::string, Tensor>>& weights,
                                                 const std::string& where,
                                                 std::vector<std::string>& warnings) const override;
  data::NamedTensors initial_weights(const std::string& path,
                                     std::vector<std::string>& warnings) const override {
    return pretrained_clip(path, clip_.config(), warnings);
  }
  /// vocab.json and merges.txt of the tokeniser that config.text.vocabulary names.
  void write_files(const std::string& folder) const override;
  int image_size() const override { return clip_.config().image_size; }
  int target_width() const override { return 0; }
  data::CaptionTokens captions() const override { return {tokenizer_, clip_.config().text.context}; }

  std::vector<Term> terms(const data::Inputs& inputs, DType dtype,
                          const nn::ForwardContext& context) const override;
  std::int64_t feature_width() const override { return 2 * std::int64_t{clip_.config().width}; }
  Variable features(const data::Inputs& inputs, DType dtype,
                    const nn::ForwardContext& context) const override;
  std::vector<Term> terms_of(const Variable& features, const Tensor& present,
                             std::int64_t images) const override;
  bool records_terms() const override { return false; }  // the one is the loss
  std::vector<std::string> measures() const override { return {"loss"}; }
  Measured measured(const data::Inputs& inputs, DType dtype) const override;
  std::vector<NamedValue> measure_whole(const Tensor& features, std::span<const std::int64_t> indices,
                                        const data::Dataset& dataset) const override;

 private:
  Clip clip_;
  std::shared_ptr<const data::TextTokenizer> tokenizer_;
  bool image_is_frozen_ = false, text_is_frozen_ = false;
};

}  // namespace vitral::models
