// image_patches, on the CPU and on a GPU, against a loop over pixels.
#include "models/pixels.h"
#include "tensor/ops/patchify.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

using models::clip_statistics;

struct Crop {
  std::int64_t top = 0, left = 0, mirrored = 0;
};

Tensor tensor_of(const std::vector<Crop>& crops) {
  if (crops.empty()) return {};
  std::vector<std::int64_t> numbers;
  for (const Crop& c : crops) numbers.insert(numbers.end(), {c.top, c.left, c.mirrored});
  return Tensor::from(numbers, {static_cast<std::int64_t>(crops.size()), 3});
}

Tensor reference(const Tensor& images, const std::vector<Crop>& crops, std::int64_t patch,
                 std::int64_t columns, const ChannelStatistics& statistics) {
  const std::int64_t side = patch * columns, height = images.dim(1), width = images.dim(2);
  Tensor patches({images.dim(0), columns * columns, 3 * patch * patch});
  float* out = patches.data<float>();
  for (std::int64_t b = 0; b < images.dim(0); ++b) {
    const Crop crop = crops.empty() ? Crop{} : crops[static_cast<std::size_t>(b)];
    for (std::int64_t r = 0; r < columns; ++r)
      for (std::int64_t c = 0; c < columns; ++c)
        for (std::size_t ch = 0; ch < 3; ++ch)
          for (std::int64_t i = 0; i < patch * patch; ++i) {
            const std::int64_t y = r * patch + i / patch, x = c * patch + i % patch;
            const std::int64_t row = crop.top + y, column = crop.left + (crop.mirrored ? side - 1 - x : x);
            const auto pixel =
                static_cast<float>(images.data<std::uint8_t>()[((b * height + row) * width + column) * 3 +
                                                               static_cast<std::int64_t>(ch)]);
            *out++ = (pixel / 255.0F - statistics.mean[ch]) / statistics.std[ch];
          }
  }
  return patches;
}

struct Case {
  std::int64_t batch, patch, columns;
  std::int64_t more_rows = 0, more_columns = 0;  // than the square has
};

// The first image is cut at the top and left, the second at the bottom and right, others anywhere.
std::vector<Crop> some_crops(const Case& c) {
  std::vector<Crop> crops(static_cast<std::size_t>(c.batch));
  Random random(3, c.patch, c.columns);
  for (std::size_t b = 0; b < crops.size(); ++b) {
    const auto between = [&](std::int64_t limit) -> std::int64_t {
      return b == 0   ? 0
             : b == 1 ? limit
                      : static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(limit) + 1));
    };
    crops[b].top = between(c.more_rows);
    crops[b].left = between(c.more_columns);
    crops[b].mirrored = static_cast<std::int64_t>(b % 2);
  }
  return crops;
}

void check(Device device, const Case& c, const std::vector<Crop>& crops, std::int64_t offset) {
  SCOPED_TRACE(
      fmt::format("{} images, {} x {} patches of {}, {} more rows, {} more columns, {} crops, offset {}",
                  c.batch, c.columns, c.columns, c.patch, c.more_rows, c.more_columns, crops.size(), offset));
  const std::int64_t side = c.patch * c.columns;
  const Tensor images = random_bits({c.batch, side + c.more_rows, side + c.more_columns, 3}, DType::uint8);
  const Tensor want = reference(images, crops, c.patch, c.columns, clip_statistics);
  const Placed there(images, offset, device);
  for (const DType dtype : float_types) {
    Placed got(want.shape(), dtype, device.is_cpu() ? 0 : offset % 4, device);
    kernel::image_patches(got, there, tensor_of(crops).to(device), clip_statistics, c.patch);
    EXPECT_TRUE(same_bits(got, want.cast(dtype)));
  }
}

void check_all(Device device) {
  for (const Case& c : std::vector<Case>{{1, 28, 8},
                                         {2, 28, 8, 32, 32},
                                         {3, 8, 8, 5, 9},
                                         {2, 7, 3, 1, 2},
                                         {2, 14, 4, 0, 3},
                                         {4, 1, 5, 2, 2},
                                         {1, 5, 1},
                                         {5, 3, 2, 10, 1},
                                         {2, 16, 4, 16, 16},
                                         {6, 4, 3, 0, 1},
                                         {1, 64, 12, 3, 1},
                                         {1, 33, 30, 0, 2},
                                         {0, 8, 2}}) {
    const bool large = c.patch * c.columns > 300, real = c.patch == 28;
    for (const std::int64_t offset : {0, 1, 3, 8}) {
      if (large ? offset != 1 : real && offset > 1) continue;
      check(device, c, some_crops(c), offset);
      if (c.more_rows == 0 && c.more_columns == 0) check(device, c, {}, offset);
    }
  }
}

TEST(ImagePatches, CutMirroredAndNormalized) { check_all(cpu); }
TEST(ImagePatchesOnCuda, CutMirroredAndNormalized) {
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
    const Tensor want = reference(all_bytes(), {}, 8, 2, statistics);
    for (const DType dtype : float_types) {
      Placed got(want.shape(), dtype);
      kernel::image_patches(got, Placed(all_bytes()), {}, statistics, 8);
      // Of CLIP's statistics, the ones that count, also bfloat16 has every bit.
      const bool exact = dtype != DType::bfloat16 || statistics.mean == clip_statistics.mean;
      EXPECT_TRUE(exact ? same_bits(got, want.cast(dtype)) : near(got, want, tolerance(dtype)));
    }
  }
}

void check_messages(Device device) {
  Tensor patches({2, 4, 3 * 64}, DType::float32, device), five({2, 5, 3 * 64}, DType::float32, device);
  const Tensor images({2, 16, 17, 3}, DType::uint8, device), small({2, 16, 15, 3}, DType::uint8, device),
      crops = Tensor::zeros({2, 3}, DType::int64, device);
  EXPECT_EQ(message_of([&] { kernel::image_patches(five, images, crops, clip_statistics, 8); }),
            "image_patches: 5 patches are no square");
  EXPECT_EQ(message_of([&] { kernel::image_patches(patches, images, {}, clip_statistics, 8); }),
            "image_patches: images [2, 16, 17, 3] must be [B, 16, 16, 3] where nothing is cropped");
  EXPECT_EQ(message_of([&] { kernel::image_patches(patches, small, crops, clip_statistics, 8); }),
            "image_patches: images [2, 16, 15, 3] do not hold a square of 16 pixels");
}

TEST(ImagePatches, Errors) {
  check_messages(cpu);
  const Tensor images({1, 16, 17, 3}, DType::uint8);
  Tensor patches({1, 4, 3 * 64});
  for (const Crop crop : {Crop{0, 2, 0}, Crop{1, 0, 0}, Crop{-1, 0, 0}, Crop{0, -1, 1}})
    EXPECT_EQ(
        message_of([&] { kernel::image_patches(patches, images, tensor_of({crop}), clip_statistics, 8); }),
        fmt::format("image_patches: a square of 16 pixels at row {} and column {} leaves the images "
                    "[1, 16, 17, 3]",
                    crop.top, crop.left));
  Tensor bytes({1, 4, 3 * 64}, DType::uint8);
  EXPECT_EQ(message_of([&] { kernel::image_patches(bytes, images, tensor_of({{}}), clip_statistics, 8); }),
            "image_patches: dtype uint8 is not supported, use float32 or float64");
}
TEST(ImagePatchesOnCuda, Errors) {
  VITRAL_NEEDS_DEVICE(gpu);
  check_messages(gpu);
}

}  // namespace
}  // namespace vitral::test
