#include <algorithm>
#include <exception>
#include <filesystem>

#include "data/dataset_writer.h"
#include "data/images/regions.h"
#include "data/shapes_benchmark.h"

namespace vitral::data {
namespace {

// Images made and written at a time: bounds the memory, whatever the number of images.
constexpr std::int64_t block = 512;

std::vector<ShapesSample> make_samples(std::int64_t begin, std::int64_t count, std::uint64_t seed,
                                       ShapesSplit split) {
  std::vector<ShapesSample> samples(static_cast<std::size_t>(count));
  shapes_space();  // made before the threads start
  std::exception_ptr failure;
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    try {
      samples[static_cast<std::size_t>(i)] = make_shapes_sample(seed, split, begin + i);
    } catch (...) {  // out of memory: nothing may leave a parallel region
#pragma omp critical
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  return samples;
}

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

ShapesFile write_shapes(const std::string& path, std::int64_t count, std::uint64_t seed, ShapesSplit split,
                        const ShapesPlaces& places) {
  VITRAL_CHECK(count > 0, "{}: {} images cannot be written, ask for at least 1", path, count);
  DatasetWriter writer(path, DatasetWriter::Size{shapes_image_size, shapes_image_size});
  const Tensor regions = places.regions > 0 ? grid_boxes(places.regions) : Tensor(),
               patches = places.patches ? grid_boxes(shapes_grid) : Tensor();
  if (regions.defined()) writer.set_region_boxes(regions);
  Concepts concepts{shapes_space().names, shapes_space().concepts, {}, {}, {}};
  std::vector<float> boxes;
  for (std::int64_t begin = 0; begin < count; begin += block) {
    const auto samples = make_samples(begin, std::min(block, count - begin), seed, split);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      writer.add_image(samples[i].image, "", samples[i].embedding);
      if (regions.defined()) writer.add_places(Target::regions, embeddings_of(samples[i], regions));
      if (patches.defined()) writer.add_places(Target::patches, embeddings_of(samples[i], patches));
      for (const ShapesObject& o : samples[i].objects) {
        concepts.image.push_back(begin + static_cast<std::int64_t>(i));
        concepts.concept_index.push_back(o.concept_index);
        const auto box = o.box();
        boxes.insert(boxes.end(), box.begin(), box.end());
      }
    }
  }
  const auto objects = static_cast<std::int64_t>(concepts.image.size());
  concepts.boxes = Tensor::from(boxes, {objects, 4});
  writer.set_concepts(concepts);
  writer.set_attribute("teacher", "shapes");
  writer.finish();
  return {count, objects, std::filesystem::file_size(path)};
}

}  // namespace vitral::data
