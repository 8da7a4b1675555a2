// image_patches, on the CPU and on a GPU, against a loop over pixels.
#include "models/pixels.h"
#include "tensor/ops/patchify.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

using models::clip_statistics;

Tensor reference(const Tensor& images, std::int64_t patch, const ChannelStatistics& statistics) {
  const std::int64_t side = images.dim(1), columns = side / patch;
  Tensor patches({images.dim(0), columns * columns, 3 * patch * patch});
  float* out = patches.data<float>();
  for (std::int64_t b = 0; b < images.dim(0); ++b)
    for (std::int64_t r = 0; r < columns; ++r)
      for (std::int64_t c = 0; c < columns; ++c)
        for (std::size_t ch = 0; ch < 3; ++ch)
          for (std::int64_t i = 0; i < patch * patch; ++i) {
            const std::int64_t y = r * patch + i / patch, x = c * patch + i % patch;
            const auto pixel = static_cast<float>(
                images.data<std::uint8_t>()[((b * side + y) * side + x) * 3 + static_cast<std::int64_t>(ch)]);
            *out++ = (pixel / 255.0F - statistics.mean[ch]) / statistics.std[ch];
          }
  return patches;
}

struct Case {
  std::int64_t batch, patch, columns;
};

void check(Device device, const Case& c, std::int64_t offset) {
  SCOPED_TRACE(fmt::format("{} images, {} x {} patches of {}, offset {}", c.batch, c.columns, c.columns,
                           c.patch, offset));
  const std::int64_t side = c.patch * c.columns;
  const Tensor images = random_bits({c.batch, side, side, 3}, DType::uint8);
  const Tensor want = reference(images, c.patch, clip_statistics);
  const Placed there(images, offset, device);
  for (const DType dtype : float_types) {
    Placed got(want.shape(), dtype, device.is_cpu() ? 0 : offset % 4, device);
    kernel::image_patches(got, there, clip_statistics, c.patch);
    EXPECT_TRUE(same_bits(got, want.cast(dtype)));
  }
}

void check_all(Device device) {
  for (const Case& c : std::vector<Case>{{1, 28, 8},
                                         {2, 28, 8},
                                         {3, 8, 8},
                                         {2, 7, 3},
                                         {2, 14, 4},
                                         {4, 1, 5},
                                         {1, 5, 1},
                                         {5, 3, 2},
                                         {2, 16, 4},
                                         {6, 4, 3},
                                         {1, 64, 12},
                                         {1, 33, 30},
                                         {0, 8, 2}}) {
    const bool large = c.patch * c.columns > 300, real = c.patch == 28;
    for (const std::int64_t offset : {0, 1, 3, 8})
      if (large ? offset == 1 : !real || offset <= 1) check(device, c, offset);
  }
}

TEST(ImagePatches, CutAndNormalized) { check_all(cpu); }
TEST(ImagePatchesOnCuda, CutAndNormalized) {
  VITRAL_NEEDS_DEVICE(gpu);
  check_all(gpu);
}

/// Every value that a byte can have, in each channel.
Tensor all_bytes() {
  Tensor images({1, 16, 16, 3}, DType::uint8);
  for (int i = 0; i < 768; ++i) images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i / 3);
  return images;
}

TEST(ImagePatchesOnCuda, EveryByte) {
  VITRAL_NEEDS_DEVICE(gpu);
  const ChannelStatistics other{{0.5F, 0.1F, 0.9F}, {0.5F, 1.F, 0.123F}};
  for (const ChannelStatistics& statistics : {clip_statistics, other}) {
    const Tensor want = reference(all_bytes(), 8, statistics);
    for (const DType dtype : float_types) {
      Placed got(want.shape(), dtype);
      kernel::image_patches(got, Placed(all_bytes()), statistics, 8);
      // Of CLIP's statistics, the ones that count, also bfloat16 has every bit.
      const bool exact = dtype != DType::bfloat16 || statistics.mean == clip_statistics.mean;
      EXPECT_TRUE(exact ? same_bits(got, want.cast(dtype)) : near(got, want, tolerance(dtype)));
    }
  }
}

void check_messages(Device device) {
  Tensor patches({2, 4, 3 * 64}, DType::float32, device), five({2, 5, 3 * 64}, DType::float32, device);
  const Tensor images({2, 16, 17, 3}, DType::uint8, device);
  EXPECT_EQ(message_of([&] { kernel::image_patches(five, images, clip_statistics, 8); }),
            "image_patches: 5 patches are no square");
  EXPECT_EQ(message_of([&] { kernel::image_patches(patches, images, clip_statistics, 8); }),
            "image_patches: images [2, 16, 17, 3] must be [B, 16, 16, 3]");
}

TEST(ImagePatches, Errors) {
  check_messages(cpu);
  const Tensor images({1, 16, 16, 3}, DType::uint8);
  Tensor bytes({1, 4, 3 * 64}, DType::uint8);
  EXPECT_EQ(message_of([&] { kernel::image_patches(bytes, images, clip_statistics, 8); }),
            "image_patches: dtype uint8 is not supported, use float32 or float64");
}
TEST(ImagePatchesOnCuda, Errors) {
  VITRAL_NEEDS_DEVICE(gpu);
  check_messages(gpu);
}

}  // namespace
}  // namespace vitral::test
