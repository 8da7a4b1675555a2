#include "tensor/ops/augment.h"

namespace vitral {

void check_augment_shapes(const Tensor& to, const Tensor& images, const Tensor& records) {
  const auto is_images = [](const Tensor& t) {
    return t.dtype() == DType::uint8 && t.rank() == 4 && t.dim(3) == 3;
  };
  VITRAL_CHECK(is_images(images) && is_images(to) && to.dim(0) == images.dim(0) &&
                   to.dim(1) <= images.dim(1) && to.dim(2) <= images.dim(2),
               "augment: {} {} is no part of images {} {}, both must be uint8 [B, H, W, 3]", to.dtype(),
               to.shape(), images.dtype(), images.shape());
  const std::int64_t weights = records.rank() == 2 ? augmentation_weights(records) : -1;
  VITRAL_CHECK(records.dtype() == DType::uint8 && weights >= 0 && (weights == 0 || weights % 2 == 1) &&
                   records.shape() == Shape({images.dim(0), augmentation_bytes(weights)}),
               "augment: records {} {} must be uint8 [{}, {} + 4 times an odd number, or 0]", records.dtype(),
               records.shape(), images.dim(0), augmentation_bytes(0));
}

}  // namespace vitral
