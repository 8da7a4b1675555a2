#include "infer/measure/objects.h"

#include <algorithm>

namespace vitral::infer {
namespace {

void check_box(const char* operation, const Box& box, std::size_t object) {
  const auto [x0, y0, x1, y1] = box;
  const auto inside = [](float v) { return v >= -1e-3F && v <= 1 + 1e-3F; };  // false for NaN
  VITRAL_CHECK(std::ranges::all_of(box, inside) && x0 <= x1 && y0 <= y1,
               "{}: object {} has the box ({}, {}, {}, {}), it must be x0 <= x1, y0 <= y1 in 0..1", operation,
               object, x0, y0, x1, y1);
}

}  // namespace

ObjectsByImage objects_by_image(const data::Concepts& concepts) {
  ObjectsByImage out;
  for (std::size_t m = 0; m < concepts.image.size(); ++m) {
    const float* b = concepts.boxes.data<float>() + 4 * m;
    const auto marked = [m](const std::vector<std::uint8_t>& marks) {
      return !marks.empty() && marks[m] != 0;
    };
    out[concepts.image[m]].push_back({.concept_index = concepts.concept_index[m],
                                      .box = {b[0], b[1], b[2], b[3]},
                                      .difficult = marked(concepts.difficult),
                                      .crowd = marked(concepts.crowd)});
  }
  return out;
}

std::vector<LabelledObject> objects_of(const ObjectsByImage& objects,
                                       const std::vector<std::int64_t>& images) {
  std::vector<LabelledObject> out;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const auto found = objects.find(images[i]);
    if (found == objects.end()) continue;
    for (LabelledObject o : found->second) {
      o.image = static_cast<std::int64_t>(i);
      out.push_back(o);
    }
  }
  return out;
}

void check_concepts(const char* operation, const Tensor& concepts, std::int64_t rows, std::int64_t columns) {
  VITRAL_CHECK(concepts.rank() == 2 && concepts.dtype() == DType::float32 && concepts.numel() > 0,
               "{}: concepts {} {} must be float32 [C, D]", operation, concepts.dtype(), concepts.shape());
  VITRAL_CHECK(rows > 0 && columns > 0, "{}: grid {}x{} has no patches", operation, rows, columns);
}

void check_objects(const char* operation, const Tensor& patch_embeddings, std::int64_t rows,
                   std::int64_t columns, const Tensor& concepts, std::span<const LabelledObject> objects) {
  const Shape& shape = patch_embeddings.shape();
  VITRAL_CHECK(shape.rank() == 3 && patch_embeddings.dtype() == DType::float32,
               "{}: patches {} {} must be float32 [B, N, D]", operation, patch_embeddings.dtype(), shape);
  VITRAL_CHECK(shape.dim(0) > 0, "{}: patches {} hold no images", operation, shape);
  VITRAL_CHECK(concepts.dim(1) == shape.dim(2), "{}: concepts {} must match last dim of patches {}",
               operation, concepts.shape(), shape);
  VITRAL_CHECK(shape.dim(1) == rows * columns, "{}: patches {} must be those of a {}x{} grid", operation,
               shape, rows, columns);
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const LabelledObject& o = objects[i];
    VITRAL_CHECK(o.image >= 0 && o.image < shape.dim(0), "{}: object {} is in image {}, images are 0..{}",
                 operation, i, o.image, shape.dim(0) - 1);
    VITRAL_CHECK(o.concept_index >= 0 && o.concept_index < concepts.dim(0),
                 "{}: object {} has concept {}, concepts are 0..{}", operation, i, o.concept_index,
                 concepts.dim(0) - 1);
    check_box(operation, o.box, i);
  }
}

}  // namespace vitral::infer
