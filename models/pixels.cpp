#include "models/pixels.h"

namespace vitral::models {

Variable normalize_pixels(const Tensor& pixels, const ChannelStatistics& statistics, DType dtype) {
  VITRAL_CHECK(pixels.rank() == 4 && pixels.dim(3) == 3 && pixels.dtype() == DType::uint8,
               "normalize_pixels: images {} {} must be uint8 [B, H, W, 3]", pixels.dtype(), pixels.shape());
  Tensor x({pixels.dim(0), 3, pixels.dim(1), pixels.dim(2)}, DType::float32, pixels.device());
  kernel::normalize_images(x, pixels, statistics);
  return Variable(x.cast(dtype));
}

Variable pixel_patches(int image_size, int patch_size, const Tensor& pixels, DType dtype) {
  const std::int64_t size = image_size, grid = size / patch_size;
  VITRAL_CHECK(pixels.rank() == 4 && pixels.dim(1) == size && pixels.dim(2) == size && pixels.dim(3) == 3 &&
                   pixels.dtype() == DType::uint8,
               "pixel_patches: images {} {} must be uint8 [B, {}, {}, 3]", pixels.dtype(), pixels.shape(),
               size, size);
  Tensor patches({pixels.dim(0), grid * grid, 3LL * patch_size * patch_size}, dtype, pixels.device());
  kernel::image_patches(patches, pixels, clip_statistics, patch_size);
  return Variable(patches);
}

}  // namespace vitral::models
