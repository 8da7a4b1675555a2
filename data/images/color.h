// Colour operations on 8-bit images at a fixed strength, bit for bit as Pillow 9.4 (ImageEnhance, ImageOps)
// and so torchvision 0.14 on PIL images. Images are uint8 [H,W,3]; each function returns a new one.
//
// L, the brightness of a pixel, is (19595 R + 38470 G + 7471 B + 2^15) / 2^16, rounded down. The enhancements
// blend with a base in float32 and round towards zero: y = clip(base + factor (x - base)), factor >= 0.
#pragma once
#include "tensor/tensor.h"

namespace vitral::data {

/// Base black: factor 0 is black, 1 the image.
Tensor adjust_brightness(const Tensor& image, float factor);
/// Base grey, the mean L of the image, rounded.
Tensor adjust_contrast(const Tensor& image, float factor);
/// Base the pixel's own L.
Tensor adjust_saturation(const Tensor& image, float factor);
/// L in all three channels.
Tensor grayscale(const Tensor& image);
/// Keeps the upper `bits` (1..8) of each value.
Tensor posterize(const Tensor& image, int bits);
/// Stretches each channel so that its darkest value becomes 0 and its brightest 255; a constant one stays.
Tensor autocontrast(const Tensor& image);

}  // namespace vitral::data
