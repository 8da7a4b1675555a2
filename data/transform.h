// From 8-bit images to what a model reads.
#pragma once
#include <array>

#include "tensor/tensor.h"

namespace vitral::data {

/// Mean and standard deviation of CLIP's training images, red, green, blue, of pixels in 0..1.
inline constexpr std::array<float, 3> clip_mean{0.48145466F, 0.4578275F, 0.40821073F};
inline constexpr std::array<float, 3> clip_std{0.26862954F, 0.26130258F, 0.27577711F};

/// uint8 [H,W,3] to [size,size,3]: bilinear with antialias, sides scaled apart. An image that has the size
/// already is returned as it is (shared memory).
Tensor validation_transform(const Tensor& image, int size);

/// y = (x / 255 - clip_mean) / clip_std in float32, as torchvision's ToTensor and Normalize.
/// uint8 [B,H,W,3] to float32 [B,3,H,W], on the CPU.
Tensor normalize(const Tensor& images);

}  // namespace vitral::data
