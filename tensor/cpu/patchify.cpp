#include "tensor/patchify.h"

#include <cstring>

#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

// Calls f(image row pointer, patch row pointer) for every run of `patch` neighbouring pixels.
template <class T, class F>
void for_runs(const Tensor& images, const Tensor& patches, std::int64_t patch, F&& f) {
  const std::int64_t channels = images.dim(1), height = images.dim(2), width = images.dim(3);
  const std::int64_t columns = width / patch, row_size = channels * patch * patch;
  cpu_kernels::parallel_chunks(images.dim(0) * channels, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
    const std::int64_t b = i / channels, ch = i % channels;
    for (std::int64_t y = 0; y < height; ++y)
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int64_t token = (b * (height / patch) + y / patch) * columns + c;
        f(images.data<T>() + (i * height + y) * width + c * patch,
          patches.data<T>() + token * row_size + (ch * patch + y % patch) * patch);
      }
  });
}

void patchify(Tensor& patches, const Tensor& images, std::int64_t patch) {
  dispatch_float("patchify", images.dtype(), [&]<class T>(T) {
    const auto bytes = static_cast<std::size_t>(patch) * sizeof(T);
    for_runs<T>(images, patches, patch, [=](T* pixels, T* tokens) { std::memcpy(tokens, pixels, bytes); });
  });
}

void unpatchify(Tensor& images, const Tensor& patches, std::int64_t patch) {
  dispatch_float("unpatchify", images.dtype(), [&]<class T>(T) {
    const auto bytes = static_cast<std::size_t>(patch) * sizeof(T);
    for_runs<T>(images, patches, patch, [=](T* pixels, T* tokens) { std::memcpy(pixels, tokens, bytes); });
  });
}

void normalize_images(Tensor& y, const Tensor& x, ChannelStatistics statistics) {
  const std::int64_t pixels = x.dim(1) * x.dim(2);
  float table[3][256];  // a byte has 256 values: the division is done once for each
  for (std::size_t ch = 0; ch < 3; ++ch)
    for (int v = 0; v < 256; ++v)
      table[ch][v] = (static_cast<float>(v) / 255.0F - statistics.mean[ch]) / statistics.std[ch];
  cpu_kernels::parallel_chunks(x.dim(0), 1, [&](std::int64_t b, std::int64_t, std::int64_t) {
    const std::uint8_t* in = x.data<std::uint8_t>() + b * pixels * 3;
    float* out = y.data<float>() + b * pixels * 3;
    for (std::int64_t i = 0; i < pixels; ++i)
      for (std::int64_t ch = 0; ch < 3; ++ch) out[ch * pixels + i] = table[ch][in[i * 3 + ch]];
  });
}

const bool implemented = kernel::patchify.implement(Device::Kind::cpu, patchify) &&
                         kernel::unpatchify.implement(Device::Kind::cpu, unpatchify) &&
                         kernel::normalize_images.implement(Device::Kind::cpu, normalize_images);

}  // namespace
}  // namespace vitral
