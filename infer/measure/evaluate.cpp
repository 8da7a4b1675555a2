#include "infer/measure/evaluate.h"

#include "data/loader.h"
#include "models/student/distillation_loss.h"
#include "processes/share.h"

namespace vitral::infer {
namespace {

// What is measured on labelled boxes.
struct LabelledMeasures {
  ObjectsByImage objects;
  PointingGame game;
  Segmentation segmentation;

  LabelledMeasures(const data::Concepts& concepts, const models::StudentConfig& student,
                   std::optional<float> background)
      : objects(objects_by_image(concepts)),
        game(concepts.embeddings, student.grid(), student.grid()),
        segmentation(concepts.embeddings, student.grid(), student.grid(), student.image_size, background) {}

  void add(const Tensor& patches, const std::vector<std::int64_t>& images) {
    const std::vector<LabelledObject> shown = objects_of(objects, images);
    game.add(patches, shown);
    segmentation.add(patches, shown);
  }
};

}  // namespace

Evaluation evaluate(const models::Encoder& encoder, const data::Dataset& dataset,
                    const EvaluateOptions& options) {
  dataset.require_embeddings();
  const std::int64_t width = encoder.config().width;
  VITRAL_CHECK(dataset.width() == width,
               "{}: /embeddings are {} wide, the student's {}; evaluate on the dataset of its teacher",
               dataset.paths().front(), dataset.width(), width);
  auto concepts = dataset.concepts();
  if (concepts && concepts->image.empty()) concepts.reset();
  if (concepts && !concepts->embeddings.defined() && !options.embed_concepts) {
    VITRAL_CHECK(!options.background,
                 "{}: has /concepts/names without embeddings, segmentation needs them; name CLIP with --clip",
                 dataset.paths().front());
    if (options.skipped)
      options.skipped(fmt::format(
          "{}: has /concepts/names without embeddings, localisation is not measured; name CLIP with --clip",
          dataset.paths().front()));
    concepts.reset();
  }
  VITRAL_CHECK(concepts || !options.background,
               "{}: has no labelled objects; a background cosine is for their segmentation",
               dataset.paths().front());
  VITRAL_CHECK(concepts || !options.embed_concepts,
               "{}: has no labelled objects whose concepts could be embedded; leave CLIP out",
               dataset.paths().front());
  std::optional<LabelledMeasures> labelled;
  if (concepts) {
    if (options.embed_concepts) concepts->embeddings = options.embed_concepts(concepts->names);
    VITRAL_CHECK(concepts->embeddings.dim(1) == width,
                 "the embeddings of concepts are {} wide, the student's {}; they must share a teacher",
                 concepts->embeddings.dim(1), width);
    labelled.emplace(*concepts, encoder.config(), options.background);
  }

  data::LoaderOptions loading;
  loading.batch_size = options.batch_size;
  loading.image_size = encoder.config().image_size;
  loading.training = false;
  loading.workers = options.workers;
  Group& group = *options.group;
  loading.stride = group.size();
  data::Loader loader(dataset, loading);
  if (!group.is_one())
    require_alike(group,
                  {{"program", program_identity()},
                   {"images", fmt::format("{} images, {:016x}", dataset.size(), dataset_digest(dataset))},
                   {"student", fmt::format("{:016x}", encoder.digest())}});
  const std::int64_t batches = loader.batches_per_epoch();
  loader.begin_epoch(0, std::min<std::int64_t>(group.rank(), batches));
  EmbeddingMetrics metrics(options.candidates);
  const models::DistillationLoss loss({.loss_norm = options.loss_norm});
  models::Means means(loss.measures());
  Evaluation out;
  const auto embed = [&](std::int64_t) {
    const auto batch = loader.next();
    Parcel made;
    std::vector<std::string> skipped;
    for (const auto& s : batch->skipped) skipped.push_back(fmt::format("skipped {}: {}", s.name, s.reason));
    put(made, skipped);
    put(made, batch->indices);
    if (batch->size() == 0) return made;
    if (const std::string problem = data::target_problem(*batch, dataset); !problem.empty())
      throw_error("{}; embed that image again, or remove it", problem);
    const models::ImageEmbeddings e = encoder.embed(batch->images, options.batch_size);
    for (const Tensor& t : {batch->targets, e.embeddings, labelled ? e.patches : Tensor()})
      if (t.defined()) made.write(t.raw(), t.bytes());
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
    Tensor targets({n, width}), embeddings({n, width});
    made.read(targets.raw(), targets.bytes());
    made.read(embeddings.raw(), embeddings.bytes());
    metrics.add(embeddings, targets);
    // In double, as many digits are printed.
    const auto wide = [](const Tensor& t) { return t.cast(DType::float64); };
    means.add(loss.measure({.embedding = Variable(wide(embeddings)), .probs = {}, .patches = {}},
                           {.images = {}, .targets = wide(targets)}),
              n);
    out.images += n;
    if (labelled) {
      Tensor patches({n, encoder.config().tokens(), width});
      made.read(patches.raw(), patches.bytes());
      labelled->add(patches, indices);
    }
    if (options.progress) options.progress(out.images + out.skipped, dataset.size());
  };
  share_blocks(group, batches, embed, add);
  VITRAL_CHECK(out.images > 0, "{}: has no image that can be read", dataset.paths().front());
  const auto measured = metrics.result();
  out.loss = means.result()[0].value;
  out.cosine = means.result()[1].value;
  out.to_teacher = measured.to_teacher;
  out.to_student = measured.to_student;
  if (labelled) {
    out.concepts = concepts->names;
    out.pointing = labelled->game.result();
    out.segmentation = labelled->segmentation.result();
  }
  return out;
}

}  // namespace vitral::infer
