// Gaussian blur of 8-bit images, as torchvision 0.14 blurs a PIL image (through float32).
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

/// uint8 [H,W,3]. y = round(sum_ij w_i w_j x), w = blur_weights(kernel, sigma), the image mirrored at its
/// borders without repeating the outermost pixel (tensor/ops/augment.h). UsageError: see check_blur(). Sums
/// run along x, then along y, where torchvision sums the square at once: single values may differ by 1.
Tensor gaussian_blur(const Tensor& image, int kernel, float sigma);

/// w_i = exp(-i^2 / (2 sigma^2)), normalised over `kernel` pixels.
std::vector<float> blur_weights(int kernel, float sigma);

/// UsageError unless the kernel is odd, kernel / 2 less than height and width, and sigma more than 0.
void check_blur(int kernel, float sigma, std::int64_t height, std::int64_t width);

}  // namespace vitral::data
