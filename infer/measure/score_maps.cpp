#include "infer/measure/score_maps.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/clones.h"
#include "data/images/image.h"
#include "data/images/resize.h"
#include "data/images/transform.h"
#include "infer/measure/patch_scores.h"

namespace vitral::infer {
namespace {

// Where windows begin along one side, as mmseg places them.
std::vector<std::int64_t> places(std::int64_t pixels, std::int64_t side, std::int64_t stride) {
  std::vector<std::int64_t> out;
  const std::int64_t count = (pixels - side + stride - 1) / stride + 1;
  for (std::int64_t i = 0; i < count; ++i) out.push_back(std::min(i * stride, pixels - side));
  return out;
}

// How many windows lie over each pixel of a side.
std::vector<float> covered(const std::vector<std::int64_t>& begins, std::int64_t side, std::int64_t pixels) {
  std::vector<float> out(static_cast<std::size_t>(pixels), 0);
  for (const std::int64_t b : begins)
    for (std::int64_t p = b; p < b + side; ++p) ++out[static_cast<std::size_t>(p)];
  return out;
}

VITRAL_CLONES void add_row(const float* first, const float* second, float amount, float* __restrict to,
                           std::int64_t n) {
  for (std::int64_t x = 0; x < n; ++x) to[x] += first[x] + amount * (second[x] - first[x]);
}

}  // namespace

Windows sliding_windows(std::int64_t height, std::int64_t width, std::int64_t side, std::int64_t stride) {
  VITRAL_CHECK(side > 0 && stride > 0 && height >= side && width >= side,
               "slide: windows of {} pixels every {} of an image of {}x{}", side, stride, height, width);
  return {height, width, side, places(height, side, stride), places(width, side, stride)};
}

Tensor cut_windows(const Tensor& image, int size, Protocol protocol, Windows& windows) {
  windows = {};
  if (protocol == Protocol::whole) {
    const Tensor seen = data::validation_transform(image, size);
    return seen.reshape({1, size, size, 3});
  }
  const std::int64_t short_side = std::max<std::int64_t>((3 * std::int64_t{size} + 1) / 2, size);
  const double scale =
      static_cast<double>(short_side) / static_cast<double>(std::min(image.dim(0), image.dim(1)));
  const auto scaled = [&](std::int64_t pixels) {
    return std::max(short_side, static_cast<std::int64_t>(static_cast<double>(pixels) * scale + 0.5));
  };
  const std::int64_t height = scaled(image.dim(0)), width = scaled(image.dim(1));
  if (height > data::max_image_pixels / width)
    throw_error("an image of {}x{} pixels is too narrow for a short side of {}", image.dim(1), image.dim(0),
                short_side);
  const Tensor resized =
      data::resize(image, static_cast<int>(width), static_cast<int>(height), data::Filter::bilinear);
  windows = sliding_windows(height, width, size, std::max(1, size / 2));
  Tensor out({windows.count(), size, size, 3}, DType::uint8);
  std::int64_t k = 0;
  for (const std::int64_t top : windows.tops)
    for (const std::int64_t left : windows.lefts) {
      const Tensor window = data::crop(resized, static_cast<int>(left), static_cast<int>(top), size, size);
      out.rows(k, k + 1).copy_from(window.reshape({1, size, size, 3}));
      ++k;
    }
  return out;
}

ScoreMaps::ScoreMaps(Tensor cosines, std::int64_t rows, std::int64_t columns, Windows windows)
    : cosines_(std::move(cosines)), rows_(rows), columns_(columns), windows_(std::move(windows)) {
  const std::int64_t count = is_whole() ? 1 : windows_.count();
  VITRAL_CHECK(cosines_.rank() == 3 && cosines_.dtype() == DType::float32 && cosines_.dim(0) == count &&
                   cosines_.dim(2) == rows * columns,
               "score maps: cosines {} {} must be float32 [{}, T, {}]", cosines_.dtype(), cosines_.shape(),
               count, rows * columns);
}

const float* ScoreMaps::map(std::int64_t t, std::vector<float>& buffer) const {
  const float* cosines = cosines_.data<float>() + t * rows_ * columns_;
  if (is_whole()) return cosines;
  const std::int64_t side = windows_.side, width = windows_.width;
  buffer.assign(static_cast<std::size_t>(windows_.height * width), 0);
  const Upsampling up(rows_, columns_, side, side);
  std::vector<float> wide(static_cast<std::size_t>(rows_ * side));
  for (const std::int64_t top : windows_.tops)
    for (const std::int64_t left : windows_.lefts) {
      up.widen(cosines, wide.data());
      for (std::int64_t y = 0; y < side; ++y) {
        const auto [first, second, amount] = up.row(wide.data(), y);
        add_row(first, second, amount, buffer.data() + (top + y) * width + left, side);
      }
      cosines += texts() * rows_ * columns_;  // of the next window
    }
  const auto down = covered(windows_.tops, side, windows_.height),
             along = covered(windows_.lefts, side, width);
  float* out = buffer.data();
  for (const float rows : down)
    for (const float columns : along) *out++ /= rows * columns;
  return buffer.data();
}

}  // namespace vitral::infer
