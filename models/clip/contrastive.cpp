#include "models/clip/contrastive.h"

#include <algorithm>

#include "data/text/vocabulary.h"
#include "models/clip/measure.h"
#include "models/pixels.h"

namespace vitral::models {
namespace {

constexpr std::size_t texts_at_once = 256;

// f() without a tape where the tower does not learn.
template <class F>
Variable of_tower(bool is_frozen, F&& f) {
  if (!is_frozen) return f();
  const NoGrad no_grad;
  return f();
}

}  // namespace

Contrastive::Contrastive(const ClipConfig& config, std::shared_ptr<const data::TextTokenizer> tokenizer,
                         std::uint64_t seed, const std::vector<std::string>& freeze)
    : clip_(config, seed), tokenizer_(std::move(tokenizer)) {
  VITRAL_CHECK(!tokenizer_ || tokenizer_->size() == config.text.vocabulary_size,
               "CLIP: a vocabulary of {} does not go with a tokeniser of {}", config.text.vocabulary_size,
               tokenizer_->size());
  for (const std::string& tower : freeze) {
    VITRAL_CHECK(tower == "image" || tower == "text", "CLIP: freeze: {} is none of image and text", tower);
    (tower == "image" ? image_is_frozen_ : text_is_frozen_) = true;
  }
}

std::map<std::string, std::string> Contrastive::metadata_in(const std::map<std::string, std::string>& file,
                                                            const std::string& where) const {
  const auto then = clip_config_from_metadata(file, where);
  return then ? to_metadata(*then) : std::map<std::string, std::string>();
}

// Heads leave no trace in the tensors.
std::map<std::string, std::string> Contrastive::metadata_of(
    const std::vector<std::pair<std::string, Tensor>>& weights, const std::string& where,
    std::vector<std::string>& /*warnings*/) const {
  const ClipConfig& own = clip_.config();
  return to_metadata(
      infer_clip_config(weights,
                        {{"vision_config.num_attention_heads", std::to_string(own.vision.heads)},
                         {"text_config.num_attention_heads", std::to_string(own.text.heads)}},
                        where));
}

void Contrastive::write_files(const std::string& folder) const {
  const std::string& vocabulary = clip_.config().text.vocabulary;
  if (!vocabulary.empty()) data::write_vocabulary(folder, data::read_vocabulary(vocabulary));
}

Variable Contrastive::features(const data::Inputs& inputs, DType dtype,
                               const nn::ForwardContext& /*context*/) const {
  VITRAL_CHECK(inputs.tokens.defined(), "CLIP: the batch has no captions");
  const Variable image = of_tower(image_is_frozen_, [&] {
    return clip_.embed_images(pixel_patches(clip_.config(), inputs.images, dtype));
  });
  const Variable text = of_tower(text_is_frozen_, [&] { return clip_.embed_texts(inputs.tokens, dtype); });
  return concat({image, text}, 1);
}

std::vector<Term> Contrastive::terms_of(const Variable& features, const Tensor& present,
                                        std::int64_t images) const {
  const std::int64_t width = clip_.config().width;
  const Variable mean = info_nce(slice(features, 1, 0, width), slice(features, 1, width, 2 * width),
                                 clip_.logit_scale(), present);
  const auto all = static_cast<double>(images);
  return {{"info_nce", 1,
           present.defined() ? mul(mean, affine(sum(Variable(present)), 1 / all))
                             : affine(mean, static_cast<double>(features.dim(0)) / all)}};
}

std::vector<Term> Contrastive::terms(const data::Inputs& inputs, DType dtype,
                                     const nn::ForwardContext& context) const {
  return terms_of(features(inputs, dtype, context), {}, inputs.images.dim(0));
}

Measured Contrastive::measured(const data::Inputs& inputs, DType dtype) const {
  const NoGrad no_grad;
  return {{loss_of(terms(inputs, dtype, {})).value()},
          [images = static_cast<double>(inputs.images.dim(0))](std::span<const double> loss) {
            return std::vector{images * loss[0]};
          }};
}

std::vector<NamedValue> Contrastive::measure_whole(const Tensor& features,
                                                   std::span<const std::int64_t> indices,
                                                   const data::Dataset& dataset) const {
  const auto embed = [&](const std::vector<std::string>& texts) {
    const NoGrad no_grad;
    std::vector<Variable> parts;
    for (std::size_t i = 0; i < texts.size(); i += texts_at_once) {
      const auto begin = texts.begin() + static_cast<std::ptrdiff_t>(i);
      const std::vector<std::string> some(
          begin, begin + static_cast<std::ptrdiff_t>(std::min(texts_at_once, texts.size() - i)));
      parts.push_back(clip_.text().forward(tokenizer_->encode(some, clip_.config().text.context)));
    }
    return concat(parts, 0).value().to(cpu);
  };
  return measure_pairs(features, indices, dataset, embed);
}

}  // namespace vitral::models
