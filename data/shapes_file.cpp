#include <algorithm>
#include <cstring>
#include <exception>
#include <filesystem>

#include "data/hdf5.h"
#include "data/shapes.h"

namespace vitral::data {
namespace {

// Images made and written at a time: bounds the memory, whatever the number of images.
constexpr std::int64_t block = 512;

void write_samples(H5File& file, std::int64_t count, std::uint64_t seed, ShapesSplit split,
                   ShapesFile& written) {
  file.set_attribute("teacher", "shapes");
  file.write_strings("/concepts/names", shapes_space().names);
  file.write("/concepts/embeddings", shapes_space().concepts);
  file.create_growing("/images", {shapes_image_size, shapes_image_size, 3}, DType::uint8, 1);
  std::vector<float> embeddings, boxes;
  std::vector<std::int64_t> images, concepts;
  for (std::int64_t begin = 0; begin < count; begin += block) {
    const std::int64_t size = std::min(block, count - begin);
    std::vector<ShapesSample> samples(static_cast<std::size_t>(size));
    shapes_space();  // made before the threads start
    std::exception_ptr failure;
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < size; ++i) {
      try {
        samples[static_cast<std::size_t>(i)] = make_shapes_sample(seed, split, begin + i);
      } catch (...) {  // out of memory: nothing may leave a parallel region
#pragma omp critical
        failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
    const Tensor pixels({size, shapes_image_size, shapes_image_size, 3}, DType::uint8);
    for (std::int64_t i = 0; i < size; ++i) {
      const ShapesSample& sample = samples[static_cast<std::size_t>(i)];
      pixels.rows(i, i + 1).copy_from(sample.image.reshape({1, shapes_image_size, shapes_image_size, 3}));
      const float* e = sample.embedding.data<float>();
      embeddings.insert(embeddings.end(), e, e + shapes_embedding_width);
      for (const ShapesObject& o : sample.objects) {
        images.push_back(begin + i);
        concepts.push_back(o.concept_index);
        const auto box = o.box();
        boxes.insert(boxes.end(), box.begin(), box.end());
      }
    }
    file.append("/images", pixels);
  }
  const auto objects = static_cast<std::int64_t>(images.size());
  file.write("/embeddings", Tensor::from(embeddings, {count, shapes_embedding_width}));
  file.write("/objects/image", Tensor::from(images, {objects}));
  file.write("/objects/concept", Tensor::from(concepts, {objects}));
  file.write("/objects/box", Tensor::from(boxes, {objects, 4}));
  written.images = count;
  written.objects = objects;
}

}  // namespace

ShapesFile write_shapes(const std::string& path, std::int64_t count, std::uint64_t seed, ShapesSplit split) {
  namespace fs = std::filesystem;
  VITRAL_CHECK(count > 0, "{}: {} images cannot be written, ask for at least 1", path, count);
  VITRAL_CHECK(!fs::is_directory(path), "{}: is a directory, choose another name", path);
  const std::string partial = path + ".partial";
  ShapesFile written;
  try {
    H5File file = H5File::create(partial);
    write_samples(file, count, seed, split, written);
    file.close();
    written.bytes = fs::file_size(partial);
    fs::rename(partial, path);
  } catch (...) {
    std::error_code ignored;
    fs::remove(partial, ignored);
    throw;
  }
  return written;
}

}  // namespace vitral::data
