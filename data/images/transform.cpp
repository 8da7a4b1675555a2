#include "data/images/transform.h"

#include <algorithm>

#include "data/images/image.h"

namespace vitral::data {

Tensor validation_transform(const Tensor& image, int size) {
  return resize(image, size, size, Filter::bilinear);
}

Tensor resize_crop(const Tensor& image, int size, const ResizeCrop& how) {
  check_image("resize_crop", image);
  const std::int64_t resize = how.resize > 0 ? how.resize : size;
  std::int64_t width = resize, height = resize;
  if (how.mode == ResizeCrop::Mode::shorter_edge) {
    const std::int64_t shorter = std::min(image.dim(0), image.dim(1));
    width = resize * image.dim(1) / shorter;
    height = resize * image.dim(0) / shorter;
  }
  return resize_center_crop(image, width, height, size, how.filter, how.odd_margin);
}

Tensor resize_batch(const Tensor& images, int size) {
  if (images.dim(1) == size && images.dim(2) == size) return images;
  const std::int64_t height = images.dim(1), width = images.dim(2);
  Tensor out = Tensor::pinned({images.dim(0), size, size, 3}, DType::uint8);
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < images.dim(0); ++i)
    out.rows(i, i + 1)
        .reshape({size, size, 3})
        .copy_from(validation_transform(images.rows(i, i + 1).reshape({height, width, 3}), size));
  return out;
}

}  // namespace vitral::data
