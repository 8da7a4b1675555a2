// Random tensors for tests.
#pragma once
#include "base/random.h"
#include "tensor/tensor.h"

namespace vitral::test {

/// On the CPU: normal with mean 0 and deviation 1, or (uint8) any byte.
inline Tensor noise(const Shape& shape, std::uint64_t seed, DType dtype = DType::float32) {
  Tensor t(shape, dtype);
  Random random(seed);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    if (dtype == DType::uint8)
      t.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.below(256));
    else
      t.data<float>()[i] = static_cast<float>(random.normal());
  }
  return t;
}

/// An image, uint8 [height,width,3].
inline Tensor noise_image(std::int64_t height, std::int64_t width, std::int64_t seed) {
  return noise({height, width, 3}, static_cast<std::uint64_t>(seed), DType::uint8);
}

}  // namespace vitral::test
