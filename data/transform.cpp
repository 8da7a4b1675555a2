#include "data/transform.h"

#include "data/resize.h"

namespace vitral::data {

Tensor validation_transform(const Tensor& image, int size) {
  return resize(image, size, size, Filter::bilinear);
}

Tensor normalize(const Tensor& images) {
  VITRAL_CHECK(images.defined() && images.dtype() == DType::uint8 && images.rank() == 4 &&
                   images.dim(3) == 3 && images.device() == cpu,
               "normalize: images must be uint8 [B, H, W, 3] on the CPU, not {} {}", images.dtype(),
               images.shape());
  // Every pixel value has one result, so the divisions are done 768 times and not once a pixel.
  std::array<std::array<float, 256>, 3> table;
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t v = 0; v < 256; ++v)
      table[c][v] = (static_cast<float>(v) / 255.0F - clip_mean[c]) / clip_std[c];

  const std::int64_t batch = images.dim(0), plane = images.dim(1) * images.dim(2);
  Tensor result({batch, 3, images.dim(1), images.dim(2)});
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::size_t c = 0; c < 3; ++c) {
      const std::uint8_t* from = images.data<std::uint8_t>() + b * plane * 3 + static_cast<std::int64_t>(c);
      float* to = result.data<float>() + (b * 3 + static_cast<std::int64_t>(c)) * plane;
      for (std::int64_t i = 0; i < plane; ++i) to[i] = table[c][from[3 * i]];
    }
  return result;
}

}  // namespace vitral::data
