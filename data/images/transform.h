// From images of any size to the size that a model reads.
#pragma once
#include <cstdint>

#include "data/images/resize.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// uint8 [H,W,3] to [size,size,3]: bilinear with antialias, each side by its own factor. An image that has
/// the size already is returned as it is (shared memory).
Tensor validation_transform(const Tensor& image, int size);

/// How a model's preprocessor brings an image to the square that the model reads; the default is CLIP's.
struct ResizeCrop {
  enum class Mode : std::uint8_t {
    shorter_edge,  // it gets `resize` pixels and the longer one its share, rounded down
    stretch        // both edges get `resize` pixels
  };
  Mode mode = Mode::shorter_edge;
  int resize = 0;  // pixels; 0: as many as the square has
  Filter filter = Filter::bicubic;
  OddMargin odd_margin = OddMargin::to_even;

  bool operator==(const ResizeCrop&) const = default;
};

/// uint8 [H,W,3] to [size,size,3]: resized as `how` says, then the centre, with zeros around it where the
/// resized image is smaller. Error: an image so narrow that the resized one has more than max_image_pixels.
Tensor resize_crop(const Tensor& image, int size, const ResizeCrop& how);

/// What a teacher sees of a plain image.
enum class PlainTransform {
  resize,  // stretched to the teacher's size, bilinear with antialias: the original's, what students see
  clip     // the teacher's own: CLIP's, or what its files say
};

/// Each of uint8 [B,H,W,3] resized likewise, on all cores: [B,size,size,3], pinned where it is another.
Tensor resize_batch(const Tensor& images, int size);

}  // namespace vitral::data
