#include "infer/measure/evaluate.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "data/loader.h"
#include "models/student/distillation_loss.h"
#include "processes/ahead.h"
#include "processes/share.h"

namespace vitral::infer {
namespace {

// The concepts that localisation is measured with: nullopt where there is nothing to measure it on.
std::optional<data::Concepts> labelled_concepts(const data::Dataset& dataset,
                                                const EvaluateOptions& options) {
  const std::string& path = dataset.paths().front();
  auto concepts = dataset.concepts();
  if (concepts && concepts->image.empty() && !dataset.has_masks()) concepts.reset();
  // What was asked for that needs them.
  const LocalisationOptions& o = options.localisation;
  const char* asked = o.background                    ? "--background"
                      : o.protocol == Protocol::slide ? "--protocol slide"
                      : !options.others.empty()       ? "--teacher"
                                                      : nullptr;
  if (concepts && !concepts->embeddings.defined() && !options.embed_concepts) {
    const std::string problem = path + ": has /concepts/names without embeddings, ";
    VITRAL_CHECK(!asked, "{}{} needs them; name CLIP with --clip", problem, asked);
    VITRAL_CHECK(dataset.width() > 0,
                 "{}and no embeddings of images; name CLIP with --clip to measure localisation", problem);
    if (options.skipped) options.skipped(problem + "localisation is not measured; name CLIP with --clip");
    concepts.reset();
  }
  VITRAL_CHECK(concepts || !asked, "{}: has no labelled objects or masks; {} is for measuring on these", path,
               asked);
  VITRAL_CHECK(concepts || !options.embed_concepts,
               "{}: has no labelled objects whose concepts could be embedded; leave CLIP out", path);
  return concepts;
}

ConceptTexts texts_of(const data::Concepts& concepts, const EvaluateOptions& options) {
  if (options.embed_concepts) return options.embed_concepts(concepts.names);
  ConceptTexts out = one_text_each(concepts.names);
  out.embeddings = concepts.embeddings;
  return out;
}

}  // namespace

Evaluation evaluate(const models::Encoder& encoder, const data::Dataset& dataset,
                    const EvaluateOptions& options) {
  const std::int64_t width = encoder.config().width;
  const auto concepts = labelled_concepts(dataset, options);
  if (!concepts) dataset.require_embeddings();
  const bool has_targets = dataset.width() > 0;
  VITRAL_CHECK(!has_targets || dataset.width() == width,
               "{}: /embeddings are {} wide, the student's {}; evaluate on the dataset of its teacher",
               dataset.paths().front(), dataset.width(), width);
  std::optional<Localisation> localisation;
  if (concepts) {
    std::vector<DenseModel> models{dense_model(encoder, options.batch_size)};
    models.insert(models.end(), options.others.begin(), options.others.end());
    localisation.emplace(dataset, *concepts, std::move(models), texts_of(*concepts, options),
                         options.localisation);
  }

  data::LoaderOptions loading;
  loading.batch_size = options.batch_size;
  loading.image_size = encoder.config().image_size;
  loading.training = false;
  if (!has_targets) loading.targets.clear();
  loading.workers = options.workers;
  loading.pinned = !encoder.device().is_cpu();
  Group& group = *options.group;
  loading.stride = group.size();
  data::Loader loader(dataset, loading);
  if (!group.is_one())
    require_alike(group,
                  {{"program", program_identity()},
                   {"images", fmt::format("{} images, {:016x}", dataset.size(), dataset_digest(dataset))},
                   {"student", fmt::format("{:016x}", encoder.digest())},
                   {"other models", options.identity_of_others}});
  const std::int64_t batches = loader.batches_per_epoch();
  loader.begin_epoch(0, std::min<std::int64_t>(group.rank(), batches));
  EmbeddingMetrics metrics(options.candidates);
  const models::DistillationLoss loss({.loss_norm = options.loss_norm});
  models::Means means(loss.measures());
  Evaluation out;
  out.has_targets = has_targets;
  std::vector<ImageFindings> found;
  struct Begun {
    data::Batch batch;
    std::string problem = {};
    std::optional<models::Pending<models::ImageEmbeddings>> embeddings = {};
  };
  Ahead<Begun> begun(group.rank(), group.size(), batches, models::batches_ahead(encoder.device()),
                     [&](std::int64_t) {
                       Begun b{std::move(*loader.next())};
                       if (b.batch.size() == 0) return b;
                       b.problem = data::target_problem(b.batch, dataset);
                       if (b.problem.empty())
                         b.embeddings.emplace(encoder.begin_embed(b.batch.images, options.batch_size));
                       return b;
                     });
  const auto embed = [&](std::int64_t) {
    Begun b = begun.take();
    Parcel made;
    std::vector<std::string> skipped;
    for (const auto& s : b.batch.skipped) skipped.push_back(fmt::format("skipped {}: {}", s.name, s.reason));
    put(made, skipped);
    put(made, b.batch.indices);
    if (b.batch.size() == 0) return made;
    if (!b.problem.empty()) throw_error("{}; embed that image again, or remove it", b.problem);
    const models::ImageEmbeddings e = b.embeddings->get();
    if (has_targets)
      for (const Tensor& t : {b.batch.targets, e.embeddings}) made.write(t.raw(), t.bytes());
    if (localisation) put(made, localisation->measure(b.batch.indices, b.batch.images, e.patches));
    return made;
  };
  const auto add = [&](std::int64_t, Parcel& made) {
    for (const auto& line : get<std::vector<std::string>>(made)) {
      ++out.skipped;
      if (options.skipped) options.skipped(line);
    }
    const auto indices = get<std::vector<std::int64_t>>(made);
    const auto n = static_cast<std::int64_t>(indices.size());
    if (n == 0) return;
    out.images += n;
    if (has_targets) {
      Tensor targets({n, width}), embeddings({n, width});
      made.read(targets.raw(), targets.bytes());
      made.read(embeddings.raw(), embeddings.bytes());
      metrics.add(embeddings, targets);
      // In double, as many digits are printed.
      const auto wide = [](const Tensor& t) { return t.cast(DType::float64); };
      means.add(loss.measure({.embedding = Variable(wide(embeddings)), .probs = {}, .patches = {}},
                             {.images = {}, .targets = wide(targets)}),
                n);
    }
    if (localisation) std::ranges::move(get<std::vector<ImageFindings>>(made), std::back_inserter(found));
    if (options.progress) options.progress(out.images + out.skipped, dataset.size());
  };
  share_blocks(group, batches, embed, add);
  VITRAL_CHECK(out.images > 0, "{}: has no image that can be read", dataset.paths().front());
  if (has_targets) {
    const auto measured = metrics.result();
    out.loss = means.result()[0].value;
    out.cosine = means.result()[1].value;
    out.to_teacher = measured.to_teacher;
    out.to_student = measured.to_student;
  }
  if (localisation) {
    out.concepts = concepts->names;
    out.localisation = localisation->result(found);
    out.pointing = out.localisation->rows.front().objects;
    out.segmentation = out.localisation->rows.front().segmentation;
  }
  return out;
}

}  // namespace vitral::infer
