// Images cut into patches: a convolution whose kernel equals its stride is this copy and one matrix product.
#pragma once
#include <array>

#include "tensor/kernel.h"

namespace vitral {

/// What a colour channel is normalised with: (x / 255 - mean) / std in float32, as torchvision's ToTensor and
/// Normalize.
struct ChannelStatistics {
  std::array<float, 3> mean;
  std::array<float, 3> std;
};

/// The patches of image_patches: columns x columns of them, side pixels high and wide.
struct PatchGrid {
  std::int64_t columns, side;
};
/// UsageError where `tokens` is no square number, or images [B,H,W,3] are not of that size.
PatchGrid patch_grid(const Tensor& images, std::int64_t tokens, std::int64_t patch);

namespace kernel {

/// patches[b, r * columns + c, (ch * p + y) * p + x] = images[b, ch, r * p + y, c * p + x]
/// images [B,C,R p,K p], patches [B,R K,C p p], p = patch.
inline constinit Kernel<void(Tensor& patches, const Tensor& images, std::int64_t patch)> patchify{"patchify"};
/// The inverse, which is also the gradient. Overwrites.
inline constinit Kernel<void(Tensor& images, const Tensor& patches, std::int64_t patch)> unpatchify{
    "unpatchify"};

/// y[b,ch,r,c] = (x[b,r,c,ch] / 255 - mean[ch]) / std[ch];  x uint8 [B,H,W,3], y float32 [B,3,H,W].
inline constinit Kernel<void(Tensor& y, const Tensor& x, ChannelStatistics statistics)> normalize_images{
    "normalize_images"};

/// Both in one, for square images of the side S = patch * sqrt(N):
///   patches[b, r * columns + c, (ch * p + y) * p + x] = (image(b, r p + y, c p + x, ch) / 255 - mean) / std
/// images uint8 [B,S,S,3]; patches [B,N,3 p p] float32, float64 (both with the bits of normalize_images) or
/// bfloat16.
inline constinit Kernel<void(Tensor& patches, const Tensor& images, ChannelStatistics statistics,
                             std::int64_t patch)>
    image_patches{"image_patches"};

}  // namespace kernel
}  // namespace vitral
