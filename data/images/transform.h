// From images of any size to the size that a model reads.
#pragma once
#include "tensor/tensor.h"

namespace vitral::data {

/// uint8 [H,W,3] to [size,size,3]: bilinear with antialias, each side by its own factor. An image that has
/// the size already is returned as it is (shared memory).
Tensor validation_transform(const Tensor& image, int size);

/// What a teacher sees of a plain image.
enum class PlainTransform {
  resize,  // stretched to the teacher's size, bilinear with antialias: the original's, what students see
  clip     // CLIP's own: the shorter edge to the teacher's size, bicubic, and the centre of it
};
Tensor plain_transform(const Tensor& image, int size, PlainTransform transform);

/// Each of uint8 [B,H,W,3] resized likewise, on all cores: [B,size,size,3].
Tensor resize_batch(const Tensor& images, int size);

}  // namespace vitral::data
