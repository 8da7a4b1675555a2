#include "models/pixels.h"

namespace vitral::models {

Variable normalize_pixels(const Tensor& images, Device device, const ChannelStatistics& statistics) {
  VITRAL_CHECK(images.rank() == 4 && images.dim(3) == 3 && images.dtype() == DType::uint8,
               "normalize_pixels: images {} {} must be uint8 [B, H, W, 3]", images.dtype(), images.shape());
  const Tensor pixels = images.to(device);
  Tensor x({pixels.dim(0), 3, pixels.dim(1), pixels.dim(2)}, DType::float32, device);
  kernel::normalize_images(x, pixels, statistics);
  return Variable(x);
}

}  // namespace vitral::models
