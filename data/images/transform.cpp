#include "data/images/transform.h"

#include "data/images/resize.h"

namespace vitral::data {

Tensor validation_transform(const Tensor& image, int size) {
  return resize(image, size, size, Filter::bilinear);
}

Tensor plain_transform(const Tensor& image, int size, PlainTransform transform) {
  return transform == PlainTransform::clip ? resize_shortest_center_crop(image, size, Filter::bicubic)
                                           : validation_transform(image, size);
}

Tensor resize_batch(const Tensor& images, int size) {
  if (images.dim(1) == size && images.dim(2) == size) return images;
  const std::int64_t height = images.dim(1), width = images.dim(2);
  Tensor out({images.dim(0), size, size, 3}, DType::uint8);
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < images.dim(0); ++i)
    out.rows(i, i + 1)
        .reshape({size, size, 3})
        .copy_from(validation_transform(images.rows(i, i + 1).reshape({height, width, 3}), size));
  return out;
}

}  // namespace vitral::data
