// Gaussian blur of 8-bit images, as torchvision 0.14 blurs a PIL image (through float32).
#pragma once
#include "tensor/tensor.h"

namespace vitral::data {

/// uint8 [H,W,3]. y = round(sum_ij w_i w_j x), w_i = exp(-i^2 / (2 sigma^2)) normalised over `kernel` (odd)
/// pixels, the image mirrored at its borders without repeating the outermost pixel. kernel / 2 must be less
/// than H and W. Sums run along x, then along y, where torchvision sums the square at once: single values may
/// differ by 1.
Tensor gaussian_blur(const Tensor& image, int kernel, float sigma);

}  // namespace vitral::data
