#include "tensor/ops/patchify.h"

#include <algorithm>
#include <cstring>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

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
        f(cpu_kernels::elements<T>(images) + (i * height + y) * width + c * patch,
          cpu_kernels::elements<T>(patches) + token * row_size + (ch * patch + y % patch) * patch);
      }
  });
}

void patchify(Tensor& patches, const Tensor& images, std::int64_t patch) {
  cpu_kernels::dispatch_number("patchify", images.dtype(), [&]<class T>(T) {
    const auto bytes = static_cast<std::size_t>(patch) * sizeof(T);
    for_runs<T>(images, patches, patch, [=](T* pixels, T* tokens) { std::memcpy(tokens, pixels, bytes); });
  });
}

void unpatchify(Tensor& images, const Tensor& patches, std::int64_t patch) {
  cpu_kernels::dispatch_number("unpatchify", images.dtype(), [&]<class T>(T) {
    const auto bytes = static_cast<std::size_t>(patch) * sizeof(T);
    for_runs<T>(images, patches, patch, [=](T* pixels, T* tokens) { std::memcpy(pixels, tokens, bytes); });
  });
}

// One channel of `count` neighbouring pixels, whose bytes are 3 apart.
template <class T>
VITRAL_CLONES void normalize_run(T* __restrict to, const std::uint8_t* __restrict from, float mean, float std,
                                 std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    cpu_kernels::store(to[i], (static_cast<float>(from[3 * i]) / 255.0F - mean) / std);
}

void normalize_images(Tensor& y, const Tensor& x, ChannelStatistics statistics) {
  const std::int64_t pixels = x.dim(1) * x.dim(2);
  cpu_kernels::parallel_chunks(x.dim(0) * 3, 1, [&](std::int64_t plane, std::int64_t, std::int64_t) {
    const auto ch = static_cast<std::size_t>(plane % 3);
    normalize_run(y.data<float>() + plane * pixels, x.data<std::uint8_t>() + plane / 3 * pixels * 3 + ch,
                  statistics.mean[ch], statistics.std[ch], pixels);
  });
}

// One row of patches. A line of a channel is normalised as a whole, then cut.
template <class T>
void cut_patches(T* patches, const std::uint8_t* lines, PatchGrid grid, std::int64_t patch,
                 const ChannelStatistics& statistics) {
  const std::int64_t size = 3 * patch * patch;
  T* line = cpu_kernels::scratch<T>(static_cast<std::size_t>(grid.side));
  for (std::int64_t row = 0; row < patch; ++row)
    for (std::int64_t ch = 0; ch < 3; ++ch) {
      const auto c = static_cast<std::size_t>(ch);
      normalize_run(line, lines + row * grid.side * 3 + ch, statistics.mean[c], statistics.std[c], grid.side);
      T* first = patches + (ch * patch + row) * patch;
      for (std::int64_t column = 0; column < grid.columns; ++column)
        std::copy_n(line + column * patch, patch, first + column * size);
    }
}

void image_patches(Tensor& patches, const Tensor& images, ChannelStatistics statistics, std::int64_t patch) {
  const PatchGrid grid = patch_grid(images, patches.dim(1), patch);
  const std::int64_t count = patch * grid.side * 3;  // numbers of a row of patches
  cpu_kernels::dispatch_number("image_patches", patches.dtype(), [&]<class T>(T) {
    cpu_kernels::parallel_chunks(
        images.dim(0) * grid.columns, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
          cut_patches(cpu_kernels::elements<T>(patches) + i * count, images.data<std::uint8_t>() + i * count,
                      grid, patch, statistics);
        });
  });
}

const bool implemented = kernel::patchify.implement(Device::Kind::cpu, patchify) &&
                         kernel::unpatchify.implement(Device::Kind::cpu, unpatchify) &&
                         kernel::normalize_images.implement(Device::Kind::cpu, normalize_images) &&
                         kernel::image_patches.implement(Device::Kind::cpu, image_patches);

}  // namespace
}  // namespace vitral
