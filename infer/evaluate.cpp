#include "infer/evaluate.h"

#include <unordered_map>

#include "data/loader.h"

namespace vitral::infer {
namespace {

// The labelled objects of each image.
std::unordered_map<std::int64_t, std::vector<LabelledObject>> objects_by_image(
    const data::Concepts& concepts) {
  std::unordered_map<std::int64_t, std::vector<LabelledObject>> out;
  for (std::size_t m = 0; m < concepts.image.size(); ++m) {
    const float* b = concepts.boxes.data<float>() + 4 * m;
    out[concepts.image[m]].push_back(
        {.concept_index = concepts.concept_index[m], .box = {b[0], b[1], b[2], b[3]}});
  }
  return out;
}

}  // namespace

Evaluation evaluate(const Encoder& encoder, const data::Dataset& dataset, const EvaluateOptions& options) {
  dataset.require_embeddings();
  const std::int64_t width = encoder.config().width;
  VITRAL_CHECK(dataset.width() == width,
               "{}: /embeddings are {} wide, the student's {}; evaluate on the dataset of its teacher",
               dataset.paths().front(), dataset.width(), width);
  const auto concepts = dataset.concepts();
  std::unordered_map<std::int64_t, std::vector<LabelledObject>> objects;
  std::optional<PointingGame> game;
  if (concepts && !concepts->image.empty()) {
    objects = objects_by_image(*concepts);
    game.emplace(concepts->embeddings, encoder.config().grid(), encoder.config().grid());
  }

  data::LoaderOptions loading;
  loading.batch_size = options.batch_size;
  loading.image_size = encoder.config().image_size;
  loading.training = false;
  loading.workers = options.workers;
  data::Loader loader(dataset, loading);
  EmbeddingMetrics metrics;
  Evaluation out;
  while (const auto batch = loader.next()) {
    for (const auto& s : batch->skipped) {
      ++out.skipped;
      if (options.skipped) options.skipped(fmt::format("skipped {}: {}", s.name, s.reason));
    }
    if (batch->size() == 0) continue;
    if (const std::string problem = data::target_problem(*batch, dataset); !problem.empty())
      throw_error("{}; embed that image again, or remove it", problem);
    const Encoded e = encoder.encode(batch->images, options.batch_size);
    metrics.add(e.embeddings, batch->targets);
    out.loss += static_cast<double>(batch->size()) *
                distillation_loss(Variable(e.embeddings), Variable(batch->targets), options.loss_norm).item();
    out.images += batch->size();
    if (game) {
      std::vector<LabelledObject> shown;
      for (std::size_t i = 0; i < batch->indices.size(); ++i) {
        const auto found = objects.find(batch->indices[i]);
        if (found == objects.end()) continue;
        for (LabelledObject o : found->second) {
          o.image = static_cast<std::int64_t>(i);
          shown.push_back(o);
        }
      }
      game->add(e.patches, shown);
    }
    if (options.progress) options.progress(out.images + out.skipped, dataset.size());
  }
  VITRAL_CHECK(out.images > 0, "{}: has no image that can be read", dataset.paths().front());
  const auto measured = metrics.result();
  out.loss /= static_cast<double>(out.images);
  out.cosine = measured.cosine;
  out.top1_agreement = measured.top1_agreement;
  out.candidates = measured.candidates;
  if (game) out.pointing = game->result();
  return out;
}

}  // namespace vitral::infer
