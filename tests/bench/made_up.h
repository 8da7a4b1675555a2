// Images and datasets that cost about what photographs cost.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>

#include "base/random.h"
#include "data/dataset_writer.h"
#include "data/images/image.h"
#include "tensor/tensor.h"

namespace vitral::bench {

/// uint8 [height,width,3]: waves of several lengths and some noise.
inline Tensor made_up_image(std::int64_t height, std::int64_t width, std::uint64_t seed = 2) {
  Random random(seed);
  Tensor image({height, width, 3}, DType::uint8);
  std::uint8_t* to = image.data<std::uint8_t>();
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        const auto u = static_cast<double>(x), v = static_cast<double>(y);
        const double wave = std::sin(u / 31 + c) + std::sin(v / 17 - u / 53) + 0.5 * std::sin((u + v) / 5);
        *to++ = static_cast<std::uint8_t>(std::clamp(128 + 40 * wave + 4 * random.normal(), 0.0, 255.0));
      }
  return image;
}

/// A training file of JPEG images, side x side, of which 16 are different, each with an embedding of `width`
/// numbers.
inline void make_dataset(const std::string& path, std::int64_t count, std::int64_t side, std::int64_t width) {
  data::DatasetWriter writer(path, std::nullopt);
  std::vector<std::vector<std::uint8_t>> files;
  for (std::uint64_t seed = 0; seed < 16; ++seed)
    files.push_back(data::encode_jpeg(made_up_image(side, side, seed), 90));
  Random random(1);
  Tensor embedding({width});
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t k = 0; k < width; ++k) embedding.data<float>()[k] = static_cast<float>(random.normal());
    writer.add_encoded(files[static_cast<std::size_t>(i) % files.size()], "", embedding);
  }
  writer.finish();
}

}  // namespace vitral::bench
