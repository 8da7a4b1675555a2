// What networks read: pixels, normalised with the statistics of CLIP's training images.
#pragma once
#include "autograd/variable.h"
#include "tensor/ops/patchify.h"

namespace vitral::models {

/// Red, green, blue, of pixels in 0..1.
inline constexpr ChannelStatistics clip_statistics{{0.48145466F, 0.4578275F, 0.40821073F},
                                                   {0.26862954F, 0.26130258F, 0.27577711F}};

/// uint8 pixels [B,S,S,3] as [B,3,S,S] in `dtype`, where they are: (x / 255 - mean) / std.
Variable normalize_pixels(const Tensor& pixels, const ChannelStatistics& statistics = clip_statistics,
                          DType dtype = DType::float32);

/// What a patch embedding reads: the same as patches [B,N,3 p p], N = (S / p)^2, which it multiplies, in one
/// pass. pixels uint8 [B,S,S,3] on the device where the model is. dtype: what the model computes in, float32
/// or bfloat16.
Variable pixel_patches(int image_size, int patch_size, const Tensor& pixels, DType dtype = DType::float32);
/// Of a configuration that has these two sizes.
template <class Config>
Variable pixel_patches(const Config& c, const Tensor& pixels, DType dtype = DType::float32) {
  return pixel_patches(c.image_size, c.patch_size, pixels, dtype);
}

}  // namespace vitral::models
