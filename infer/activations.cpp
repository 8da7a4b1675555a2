#include "infer/activations.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "base/text.h"
#include "base/vectors.h"
#include "data/images/transform.h"
#include "infer/measure/objects.h"
#include "infer/measure/patch_scores.h"

namespace vitral::infer {
namespace {

constexpr std::int64_t panels_without_objects = 3;

// A concept to look for, and where it is if that is known.
struct Wanted {
  std::int64_t concept_index;
  std::optional<Box> box;
};

std::int64_t find_concept(const data::Concepts& concepts, const std::string& name, const std::string& path) {
  const auto found = std::find(concepts.names.begin(), concepts.names.end(), name);
  if (found != concepts.names.end()) return found - concepts.names.begin();
  std::string some;
  for (std::size_t i = 0; i < std::min<std::size_t>(4, concepts.names.size()); ++i)
    some += (i ? ", " : "") + shown(concepts.names[i]);
  throw_error<UsageError>("{}: has no concept '{}'; it has {} of them: {}{}", path, shown(name),
                          concepts.names.size(), some, concepts.names.size() > 4 ? ", ..." : "");
}

std::vector<std::int64_t> choose_images(const data::Dataset& dataset, const ObjectsByImage& objects,
                                        std::int64_t count) {
  std::vector<std::int64_t> images;
  images.reserve(objects.size());
  for (const auto& [image, shown] : objects) images.push_back(image);
  const auto shows = [&](std::int64_t i) { return objects.at(i).size(); };
  std::stable_sort(images.begin(), images.end(), [&](auto a, auto b) { return shows(a) > shows(b); });
  if (images.empty()) {
    images.resize(static_cast<std::size_t>(std::min(count, dataset.size())));
    std::iota(images.begin(), images.end(), 0);
  }
  if (static_cast<std::int64_t>(images.size()) > count) images.resize(static_cast<std::size_t>(count));
  return images;
}

// What an image is compared with: the concepts that were asked for, with its boxes, else those of its
// objects, else the first ones of the file.
std::vector<Wanted> wanted_of(const ObjectsByImage& objects, std::int64_t image,
                              const data::Concepts& concepts, const std::vector<std::int64_t>& requested) {
  const auto here = objects.find(image);
  const std::vector<LabelledObject> shown =
      here == objects.end() ? std::vector<LabelledObject>{} : here->second;
  std::vector<Wanted> wanted;
  for (const std::int64_t c : requested) {
    const auto first = std::ranges::find(shown, c, &LabelledObject::concept_index);
    wanted.push_back({c, first == shown.end() ? std::nullopt : std::optional(first->box)});
  }
  if (!requested.empty()) return wanted;
  for (const LabelledObject& o : shown) wanted.push_back({o.concept_index, o.box});
  if (!shown.empty()) return wanted;
  const auto all = static_cast<std::int64_t>(concepts.names.size());
  for (std::int64_t c = 0; c < std::min(panels_without_objects, all); ++c) wanted.push_back({c, {}});
  return wanted;
}

std::vector<ImageActivations> of_images(
    const models::Encoder& encoder, const data::Dataset& dataset, const std::vector<std::int64_t>& images,
    const std::function<std::vector<PatchTarget>(std::int64_t image)>& targets,
    const models::ImageEncoder* teacher) {
  const std::string& path = dataset.paths().front();
  std::vector<ImageActivations> out;
  for (const std::int64_t i : images) {
    VITRAL_CHECK(i >= 0 && i < dataset.size(), "{}: has no image {}, they are numbered 0 to {}", path, i,
                 dataset.size() - 1);
    // The file would be the same in every row.
    const std::string title = dataset.has_name(i) ? dataset.name(i) : fmt::format("image {}", i);
    out.push_back(activations_of(encoder, dataset.image(i), title, targets(i), teacher));
  }
  VITRAL_CHECK(!out.empty(), "{}: has no images", path);
  return out;
}

Tensor one_image(const Tensor& image, int size) {
  const Tensor input = data::validation_transform(image, size);
  return input.reshape({1, input.dim(0), input.dim(1), 3});
}

}  // namespace

std::vector<PatchTarget> targets_of(const TextEmbeddings& texts) {
  const std::int64_t width = texts.width();
  std::vector<PatchTarget> out;
  for (std::int64_t t = 0; t < texts.size(); ++t) {
    const float* from = texts.embeddings.data<float>() + t * width;
    const double factor = double{texts.lengths.data<float>()[t]} / length(from, width);
    PatchTarget target{texts.texts[static_cast<std::size_t>(t)], Tensor({width}), {}};
    for (std::int64_t i = 0; i < width; ++i)
      target.embedding.data<float>()[i] = static_cast<float>(factor * from[i]);
    out.push_back(std::move(target));
  }
  return out;
}

ImageActivations activations_of(const models::Encoder& encoder, const Tensor& image, const std::string& title,
                                std::span<const PatchTarget> targets, const models::ImageEncoder* teacher) {
  const std::int64_t width = encoder.config().width, grid = encoder.config().grid();
  const models::ImageEmbeddings e = encoder.embed(one_image(image, encoder.config().image_size));
  const Tensor patches = e.patches.reshape({-1, width});
  ImageActivations out{title, image, e.probs.reshape({grid, grid}), {}, {}};
  Tensor dense;  // [g g,D], where it is in the space of the targets
  const int side = teacher ? teacher->config().grid() : 0;
  if (teacher) {
    const Tensor seen = one_image(image, teacher->config().image_size);
    out.attention = teacher->attention(seen).reshape({side, side});
    if (teacher->has_dense() && teacher->config().embedding == width)
      dense = teacher->dense(seen, models::DenseTokens::naclip, side).reshape({-1, width});
  }
  for (const PatchTarget& target : targets) {
    VITRAL_CHECK(target.embedding.shape() == Shape{width},
                 "'{}': its embedding {} is not as wide as the student's, {}; they must share a teacher",
                 shown(target.label), target.embedding.shape(), width);
    out.targets.push_back(
        {target.label, patch_cosines(patches, target.embedding).reshape({grid, grid}),
         patch_softmax(patches, target.embedding).reshape({grid, grid}),
         dense.defined() ? patch_cosines(dense, target.embedding).reshape({side, side}) : Tensor(),
         target.box});
  }
  return out;
}

ActivationRow activation_row(const ImageActivations& activations, ActivationStyle style, bool weights) {
  ActivationRow row{activations.image, {}, activations.title};
  const auto add = [&](const std::string& label, const Tensor& values, PanelKind kind,
                       const std::optional<Box>& box = {}) {
    row.panels.push_back({label, values, box, kind});
  };
  if (weights) add("student's weights", activations.probs, PanelKind::weights);
  if (activations.attention.defined()) add("teacher's attention", activations.attention, PanelKind::weights);
  for (const PatchActivation& a : activations.targets) {
    if (style != ActivationStyle::softmax) add(a.label, a.cosines, PanelKind::scores, a.box);
    if (style != ActivationStyle::cosine) add(a.label, a.softmax, PanelKind::weights, a.box);
    if (a.teacher.defined() && style != ActivationStyle::softmax)
      add("teacher: " + a.label, a.teacher, PanelKind::scores, a.box);
  }
  return row;
}

std::vector<ImageActivations> dataset_activations(const models::Encoder& encoder,
                                                  const data::Dataset& dataset,
                                                  const ActivationRequest& request,
                                                  std::span<const PatchTarget> targets,
                                                  const models::ImageEncoder* teacher) {
  const auto concepts = dataset.concepts();
  const auto images =
      request.images.empty()
          ? choose_images(dataset, concepts ? objects_by_image(*concepts) : ObjectsByImage{}, request.count)
          : request.images;
  return of_images(
      encoder, dataset, images,
      [&](std::int64_t) { return std::vector<PatchTarget>(targets.begin(), targets.end()); }, teacher);
}

std::vector<ImageActivations> concept_activations(const models::Encoder& encoder,
                                                  const data::Dataset& dataset,
                                                  const ActivationRequest& request,
                                                  const models::ImageEncoder* teacher) {
  const std::string& path = dataset.paths().front();
  auto concepts = dataset.concepts();
  VITRAL_CHECK(concepts && !concepts->names.empty(),
               "{}: has no /concepts; write /concepts/names and /concepts/embeddings first, or give --text",
               path);
  if (request.embed_concepts) concepts->embeddings = request.embed_concepts(concepts->names);
  VITRAL_CHECK(concepts->embeddings.defined(),
               "{}: has /concepts/names without embeddings; name CLIP's weights with --clip, or write "
               "/concepts/embeddings",
               path);
  const std::int64_t width = encoder.config().width;
  VITRAL_CHECK(concepts->embeddings.dim(1) == width,
               "{}: embeddings of its concepts are {} wide, the student's {}; they must share a teacher",
               path, concepts->embeddings.dim(1), width);
  const ObjectsByImage objects = objects_by_image(*concepts);
  std::vector<std::int64_t> requested;
  for (const auto& name : request.concepts) requested.push_back(find_concept(*concepts, name, path));
  const auto images =
      request.images.empty() ? choose_images(dataset, objects, request.count) : request.images;
  return of_images(
      encoder, dataset, images,
      [&](std::int64_t image) {
        std::vector<PatchTarget> targets;
        for (const Wanted& w : wanted_of(objects, image, *concepts, requested))
          targets.push_back({concepts->names[static_cast<std::size_t>(w.concept_index)],
                             concepts->embeddings.rows(w.concept_index, w.concept_index + 1).reshape({width}),
                             w.box});
        return targets;
      },
      teacher);
}

}  // namespace vitral::infer
