// Kernels that move elements: whatever bits these hold must arrive.
#include <numeric>

#include "models/pixels.h"
#include "tensor/ops/copy.h"
#include "tensor/ops/patchify.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

using models::clip_statistics;

// One type for each size of an element.
constexpr DType sizes_of_elements[] = {DType::uint8, DType::bfloat16, DType::float32, DType::float64};

void check_slice(const AxisSlice& s, DType dtype, std::int64_t offset) {
  const AxisView& v = s.whole;
  SCOPED_TRACE(fmt::format("[{}, {}, {}] {}, offset {}, from {} on {}", v.outer, v.n, v.inner, dtype, offset,
                           s.begin, s.size));
  Tensor whole = random_bits({v.outer, v.n, v.inner}, dtype), part({v.outer, s.size, v.inner}, dtype);
  const Tensor other = random_bits(part.shape(), dtype, 2);
  Placed on_gpu(whole, offset), got(part.shape(), dtype, offset);
  kernel::slice(part, whole, s);
  kernel::slice(got, on_gpu, s);
  EXPECT_TRUE(same_bits(got, part));
  kernel::write_slice(whole, other, s);
  kernel::write_slice(on_gpu, Placed(other), s);
  EXPECT_TRUE(same_bits(on_gpu, whole)) << "write_slice";
}

VITRAL_KERNEL_TEST(Slice, AnyPartAndPlace) {
  const std::vector<AxisSlice> slices{{{1, 10, 1}, 2, 5},   {{3, 10, 1}, 2, 5},   {{4, 16, 8}, 8, 8},
                                      {{4, 16, 8}, 3, 5},   {{2, 3, 528}, 1, 1},  {{16, 528, 1}, 0, 512},
                                      {{64, 33, 1}, 32, 1}, {{64, 33, 1}, 0, 32}, {{5, 1584, 1}, 528, 528},
                                      {{7, 4, 3}, 0, 4},    {{1, 1, 1}, 0, 1},    {{0, 4, 3}, 0, 4},
                                      {{3, 4, 0}, 0, 4},    {{3, 4, 5}, 2, 0},    {{700, 6, 3}, 2, 3}};
  for (const AxisSlice& slice : slices)
    for (const DType dtype : sizes_of_elements)
      for (const std::int64_t offset : {0, 1, 2, 3, 8}) check_slice(slice, dtype, offset);
}

void check_permute(const Shape& shape, const std::vector<int>& order, DType dtype, std::int64_t offset) {
  const Tensor x = random_bits(shape, dtype);
  kernel::Axes axes{};
  Shape permuted;
  for (std::size_t i = 0; i < order.size(); ++i) {
    axes[i] = order[i];
    permuted = permuted.append(shape[order[i]]);
  }
  Tensor y(permuted, dtype);
  Placed got(permuted, dtype, offset);
  kernel::permute(y, x, axes);
  kernel::permute(got, Placed(x, offset), axes);
  EXPECT_TRUE(same_bits(got, y)) << shape.str() << " to " << permuted.str() << ", offset " << offset;
}

VITRAL_KERNEL_TEST(Permute, AnyAxesAndPlace) {
  const std::vector<std::pair<Shape, std::vector<int>>> permutations{
      {{5}, {0}},
      {{3, 4}, {1, 0}},
      {{64, 33}, {1, 0}},
      {{100, 70}, {1, 0}},
      {{1, 1}, {1, 0}},
      {{0, 3}, {1, 0}},
      {{2, 3, 4}, {0, 2, 1}},
      {{2, 3, 4}, {2, 0, 1}},
      {{4, 6, 8}, {1, 0, 2}},
      {{17, 16, 2}, {1, 2, 0}},
      {{2, 20, 4, 33}, {0, 2, 1, 3}},
      {{2, 20, 3, 17}, {0, 3, 2, 1}},
      {{2, 3, 28, 28}, {0, 2, 3, 1}},
      {{2, 28, 28, 3}, {0, 3, 1, 2}},
      {{1, 3, 1, 5}, {2, 1, 3, 0}},
      {{3, 40, 5, 20}, {1, 2, 3, 0}},
      {{2, 3, 2, 3, 2, 3, 2, 3}, {7, 6, 5, 4, 3, 2, 1, 0}},
      {{2, 3, 2, 3, 2, 3, 2, 8}, {6, 5, 4, 3, 2, 1, 0, 7}}};
  for (const auto& [shape, order] : permutations)
    for (const DType dtype : sizes_of_elements)
      for (const std::int64_t offset : {0, 1, 4}) check_permute(shape, order, dtype, offset);
}

// Which element of the images each element of the patches is, after the CPU; it has no bfloat16.
Tensor patchified(const Tensor& images, std::int64_t patch, const Shape& shape) {
  Tensor index(images.shape(), DType::float64), moved(shape, DType::float64), patches(shape, images.dtype());
  std::iota(index.data<double>(), index.data<double>() + index.numel(), 0);
  kernel::patchify(moved, index, patch);
  const std::size_t size = size_of(images.dtype());
  for (std::int64_t i = 0; i < moved.numel(); ++i)
    std::memcpy(
        static_cast<char*>(patches.raw()) + static_cast<std::size_t>(i) * size,
        static_cast<const char*>(images.raw()) + static_cast<std::size_t>(moved.data<double>()[i]) * size,
        size);
  return patches;
}

struct Grid {
  std::int64_t batch, channels, rows, columns, patch;
};

VITRAL_KERNEL_TEST(Patchify, ThereAndBack) {
  for (const Grid& g : std::vector<Grid>{{1, 3, 8, 8, 28},
                                         {2, 3, 2, 3, 8},
                                         {1, 1, 1, 1, 5},
                                         {3, 2, 4, 2, 7},
                                         {2, 3, 2, 2, 14},
                                         {1, 3, 2, 2, 1},
                                         {1, 3, 3, 3, 16},
                                         {0, 3, 2, 2, 4}})
    for (const DType dtype : float_types)
      for (const std::int64_t offset : {0, 1, 4}) {
        if (g.patch == 28 && offset == 4) continue;
        const Tensor images =
            random_bits({g.batch, g.channels, g.rows * g.patch, g.columns * g.patch}, dtype);
        const Shape shape{g.batch, g.rows * g.columns, g.channels * g.patch * g.patch};
        Placed patches(shape, dtype, offset), back(images.shape(), dtype, offset);
        kernel::patchify(patches, Placed(images, offset), g.patch);
        EXPECT_TRUE(same_bits(patches, patchified(images, g.patch, shape)))
            << images.shape().str() << " patch " << g.patch << ", offset " << offset;
        kernel::unpatchify(back, patches, g.patch);
        EXPECT_TRUE(same_bits(back, images)) << "back, patch " << g.patch << ", offset " << offset;
      }
}

TEST(NormalizeImagesOnCuda, GivesTheBitsOfTheCpu) {
  VITRAL_NEEDS_DEVICE(gpu);
  for (const Shape& s : {Shape{1, 224, 224, 3}, Shape{3, 5, 7, 3}, Shape{1, 1, 1, 3}, Shape{2, 64, 64, 3},
                         Shape{5, 30, 30, 3}, Shape{0, 8, 8, 3}})
    for (const std::int64_t offset : {0, 1, 4}) {
      const Tensor x = random_bits(s, DType::uint8);
      Tensor y({s[0], 3, s[1], s[2]});
      Placed got(y.shape(), DType::float32, offset);
      kernel::normalize_images(y, x, clip_statistics);
      kernel::normalize_images(got, Placed(x, offset), clip_statistics);
      EXPECT_TRUE(same_bits(got, y)) << s.str() << ", offset " << offset;
    }
}

}  // namespace
}  // namespace vitral::test
