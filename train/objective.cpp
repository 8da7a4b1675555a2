#include "train/objective.h"

#include "data/dataset.h"
#include "data/embedding_file.h"
#include "data/images/regions.h"
#include "data/text/clip_tokenizer.h"
#include "data/text/vocabulary.h"
#include "models/clip/contrastive.h"
#include "models/student/distillation.h"

namespace vitral::train {
namespace {

// Of train.texts, else of the concepts of the training data.
Tensor text_embeddings(const Config& config) {
  const std::string& file = config.train.texts;
  const std::string where = file.empty() ? config.data.train.front() + ": /concepts/embeddings" : file;
  Tensor texts;
  if (!file.empty()) {
    texts = data::read_embedding_file(file, "").rows;
  } else {
    const auto dataset = data::Dataset::open(
        config.data.train, {.images = config.data.images, .embeddings = config.data.embeddings});
    const auto concepts = dataset.concepts();
    if (concepts) texts = concepts->embeddings;
    VITRAL_CHECK(
        texts.defined() && texts.dim(0) > 0,
        "train.objective.texts: {} has no /concepts/embeddings; name a file of `vitral embed --text` "
        "with train.texts",
        config.data.train.front());
  }
  VITRAL_CHECK(texts.dim(1) == config.model.width,
               "{}: the texts' embeddings are {} wide, model.width is {}; embed them with the same teacher",
               where, texts.dim(1), config.model.width);
  return texts.cast(DType::float32);
}

// Where the regions lie that the data have, or that the teacher is asked about.
Tensor region_boxes(const Config& config) {
  if (!config.teacher.weights.empty()) return data::grid_boxes(*config.teacher.regions);
  return data::Dataset::open(config.data.train,
                             {.images = config.data.images, .embeddings = config.data.embeddings},
                             {data::Target::image, data::Target::regions})
      .region_boxes();
}

std::unique_ptr<models::Objective> make_contrastive(const Config& config) {
  models::ClipConfig clip = clip_config(config.model);
  data::BytePairs pairs = data::read_vocabulary(clip.text.vocabulary);
  clip.text.vocabulary_digest = data::digest(pairs);
  auto tokenizer = std::make_shared<const data::ClipTokenizer>(std::move(pairs));
  clip.text.vocabulary_size = static_cast<int>(tokenizer->size());
  return std::make_unique<models::Contrastive>(
      clip, std::move(tokenizer), static_cast<std::uint64_t>(config.train.seed), config.train.freeze);
}

}  // namespace

std::unique_ptr<models::Objective> make_objective(const Config& config) {
  if (config.model.kind == "clip") return make_contrastive(config);
  models::DistillationOptions options{.terms = config.train.objective,
                                      .loss_norm = config.train.loss_norm,
                                      .temperature = config.train.temperature};
  if (options.terms.contains("texts")) options.texts = text_embeddings(config);
  if (options.terms.contains("regions")) options.regions = region_boxes(config);
  return std::make_unique<models::Distillation>(config.model, static_cast<std::uint64_t>(config.train.seed),
                                                options);
}

}  // namespace vitral::train
