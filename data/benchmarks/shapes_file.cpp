#include <filesystem>

#include "data/benchmarks/shapes.h"
#include "data/dataset_writer.h"
#include "data/images/regions.h"

namespace vitral::data {
namespace {

// [P,D], of P boxes.
Tensor embeddings_of(const ShapesSample& sample, const Tensor& boxes) {
  Tensor out({boxes.dim(0), shapes_embedding_width});
  for (std::int64_t p = 0; p < boxes.dim(0); ++p)
    out.rows(p, p + 1)
        .reshape({shapes_embedding_width})
        .copy_from(
            shapes_box_embedding(sample.objects, std::span<const float, 4>(boxes.data<float>() + p * 4, 4)));
  return out;
}

}  // namespace

BenchmarkFile write_shapes(const std::string& path, std::int64_t count, std::uint64_t seed, Split split,
                           const ShapesPlaces& places) {
  VITRAL_CHECK(count > 0, "{}: {} images cannot be written, ask for at least 1", path, count);
  DatasetWriter writer(path, DatasetWriter::Size{shapes_image_size, shapes_image_size});
  const Tensor regions = places.regions > 0 ? grid_boxes(places.regions) : Tensor(),
               patches = places.patches ? grid_boxes(shapes_grid) : Tensor();
  if (regions.defined()) writer.set_region_boxes(regions);
  ObjectList objects(shapes_space().names, shapes_space().concepts);
  make_samples(
      count, [&](std::int64_t i) { return make_shapes_sample(seed, split, i); },
      [&](std::int64_t i, const ShapesSample& sample) {
        writer.add_image(sample.image, "", sample.embedding);
        if (regions.defined()) writer.add_places(Target::regions, embeddings_of(sample, regions));
        if (patches.defined()) writer.add_places(Target::patches, embeddings_of(sample, patches));
        for (const ShapesObject& o : sample.objects) objects.add(i, o.concept_index, o.box());
      });
  writer.set_concepts(objects.concepts());
  writer.set_attribute("teacher", "shapes");
  writer.finish();
  return {count, objects.size(), std::filesystem::file_size(path)};
}

}  // namespace vitral::data
