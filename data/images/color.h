// Operations on 8-bit images at a fixed strength, bit for bit as Pillow 9.4 (ImageEnhance, ImageOps) and so
// torchvision 0.14 on PIL images. Images are uint8 [H,W,3]; each function returns a new one. Their arithmetic
// is that of tensor/ops/augment.h.
#pragma once
#include "tensor/tensor.h"

namespace vitral::data {

/// A blend with black: factor 0 is black, 1 the image.
Tensor adjust_brightness(const Tensor& image, float factor);
/// A blend with grey, the mean brightness of the image.
Tensor adjust_contrast(const Tensor& image, float factor);
/// A blend with each pixel's own brightness.
Tensor adjust_saturation(const Tensor& image, float factor);
/// The brightness in all three channels.
Tensor grayscale(const Tensor& image);
/// Mirrored left to right.
Tensor horizontal_flip(const Tensor& image);
/// Keeps the upper `bits` (1..8) of each value.
Tensor posterize(const Tensor& image, int bits);
/// The bits that it keeps.
std::uint8_t posterize_mask(int bits);
/// Stretches each channel so that its darkest value becomes 0 and its brightest 255; a constant one stays.
Tensor autocontrast(const Tensor& image);

}  // namespace vitral::data
