// Scaling and cropping of 8-bit images, bit for bit as Pillow 9.4 to 12.3 (Resample.c) and torchvision on PIL
// images. Pillow 13 goes along y first where the height shrinks by more than twice as many pixels as the
// width; there its last bits differ.
//
// Each output pixel is a weighted mean of the input pixels under a filter that is widened when the image
// shrinks (antialias), along x first, then along y. Weights are computed in double, rounded to 22 bits after
// the point, and each pass rounds and clips its sums to 0..255.
#pragma once
#include <cstdint>

#include "tensor/tensor.h"

namespace vitral::data {

enum class Filter {
  bilinear,  // triangle, reaches 1 input pixel (or 1 output pixel when shrinking) to each side
  bicubic,   // Keys' cubic with a = -0.5, reaches 2
};

/// uint8 [H,W,3] to [height,width,3]. An image that has the size already is returned as it is (shared
/// memory).
Tensor resize(const Tensor& image, int width, int height, Filter filter);

/// The pixels [y, y + height) x [x, x + width), copied; UsageError when they are not all inside.
Tensor crop(const Tensor& image, int x, int y, int width, int height);

/// Where the centre of an image lies whose margin is odd.
enum class OddMargin : std::uint8_t {
  to_even,  // half of it, rounded to an even number: torchvision's CenterCrop
  down      // rounded down: transformers' center_crop
};

/// Scaled to width x height, then the size x size pixels of the centre, with zeros around it where it is
/// smaller; what is cut off is not computed. [size,size,3]
Tensor resize_center_crop(const Tensor& image, std::int64_t width, std::int64_t height, int size,
                          Filter filter, OddMargin odd_margin);

}  // namespace vitral::data
