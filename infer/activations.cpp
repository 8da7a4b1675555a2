#include "infer/activations.h"

#include <algorithm>
#include <map>

#include "data/input_file.h"
#include "data/transform.h"
#include "infer/pointing.h"

namespace vitral::infer {
namespace {

constexpr std::int64_t panels_without_objects = 3;

struct Wanted {
  std::int64_t concept_index;
  std::optional<Box> box;
};

// The labelled objects of each image, in the order of the file.
std::map<std::int64_t, std::vector<Wanted>> labelled(const data::Concepts& concepts) {
  std::map<std::int64_t, std::vector<Wanted>> out;
  for (std::size_t m = 0; m < concepts.image.size(); ++m) {
    const float* b = concepts.boxes.data<float>() + 4 * m;
    out[concepts.image[m]].push_back({concepts.concept_index[m], Box{b[0], b[1], b[2], b[3]}});
  }
  return out;
}

std::int64_t find_concept(const data::Concepts& concepts, const std::string& name, const std::string& path) {
  const auto found = std::find(concepts.names.begin(), concepts.names.end(), name);
  if (found != concepts.names.end()) return found - concepts.names.begin();
  std::string some;
  for (std::size_t i = 0; i < std::min<std::size_t>(4, concepts.names.size()); ++i)
    some += (i ? ", " : "") + data::shown(concepts.names[i]);
  throw_error<UsageError>("{}: has no concept '{}'; it has {} of them: {}{}", path, data::shown(name),
                          concepts.names.size(), some, concepts.names.size() > 4 ? ", ..." : "");
}

std::vector<std::int64_t> choose_images(const data::Dataset& dataset,
                                        const std::map<std::int64_t, std::vector<Wanted>>& objects,
                                        std::int64_t count) {
  std::vector<std::int64_t> images;
  images.reserve(objects.size());
  for (const auto& [image, shown] : objects) images.push_back(image);
  const auto shows = [&](std::int64_t i) { return objects.at(i).size(); };
  std::stable_sort(images.begin(), images.end(), [&](auto a, auto b) { return shows(a) > shows(b); });
  for (std::int64_t i = 0; images.empty() && i < std::min(count, dataset.size()); ++i) images.push_back(i);
  if (static_cast<std::int64_t>(images.size()) > count) images.resize(static_cast<std::size_t>(count));
  return images;
}

}  // namespace

std::vector<ActivationRow> concept_activations(const Encoder& encoder, const data::Dataset& dataset,
                                               const ActivationRequest& request) {
  const std::string& path = dataset.paths().front();
  const auto concepts = dataset.concepts();
  VITRAL_CHECK(concepts && !concepts->names.empty(),
               "{}: has no /concepts; write /concepts/names and /concepts/embeddings first", path);
  const std::int64_t width = encoder.config().width, grid = encoder.config().grid();
  VITRAL_CHECK(concepts->embeddings.dim(1) == width,
               "{}: /concepts/embeddings are {} wide, the student's {}; they must share a teacher", path,
               concepts->embeddings.dim(1), width);
  const auto objects = labelled(*concepts);
  const auto images =
      request.images.empty() ? choose_images(dataset, objects, request.count) : request.images;

  std::vector<ActivationRow> rows;
  for (const std::int64_t i : images) {
    VITRAL_CHECK(i >= 0 && i < dataset.size(), "{}: has no image {}, they are numbered 0 to {}", path, i,
                 dataset.size() - 1);
    const auto here = objects.find(i);
    std::vector<Wanted> wanted;
    if (!request.concepts.empty()) {
      for (const auto& name : request.concepts) {
        Wanted w{find_concept(*concepts, name, path), {}};
        if (here != objects.end())
          for (const auto& o : here->second)
            if (o.concept_index == w.concept_index && !w.box) w.box = o.box;
        wanted.push_back(w);
      }
    } else if (here != objects.end()) {
      wanted = here->second;
    } else {
      const auto all = static_cast<std::int64_t>(concepts->names.size());
      for (std::int64_t c = 0; c < std::min(panels_without_objects, all); ++c) wanted.push_back({c, {}});
    }

    const Tensor image = dataset.image(i),
                 input = data::validation_transform(image, encoder.config().image_size);
    const Encoded e = encoder.encode(input.reshape({1, input.dim(0), input.dim(1), 3}));
    ActivationRow row{.image = image, .panels = {}, .title = {}};
    // The file would be the same in every row.
    row.title = dataset.has_name(i) ? dataset.name(i) : fmt::format("image {}", i);
    for (const Wanted& w : wanted) {
      const Tensor embedding =
          concepts->embeddings.rows(w.concept_index, w.concept_index + 1).reshape({width});
      row.panels.push_back({concepts->names[static_cast<std::size_t>(w.concept_index)],
                            patch_cosines(e.patches.reshape({-1, width}), embedding).reshape({grid, grid}),
                            w.box});
    }
    rows.push_back(std::move(row));
  }
  VITRAL_CHECK(!rows.empty(), "{}: has no images", path);
  return rows;
}

}  // namespace vitral::infer
