#include "data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "data/exact_float.h"
#include "data/image.h"

namespace vitral::data {
namespace {

constexpr int precision_bits =
    32 - 8 - 2;  // of a weight: 8 bits are the pixel's, 2 the overshoot's of the cubic
constexpr std::int32_t half = 1 << (precision_bits - 1);

double triangle(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// What the output positions [begin, begin + count) of one axis, scaled from `in` to `out` pixels, are made
// of.
struct Taps {
  struct Span {
    int first = 0;  // input position of the first weight
    int count = 0;
  };
  int stride = 0;  // weights reserved for an output position, zeros behind its own
  int most = 0;    // weights that any position has
  std::vector<Span> spans;
  std::vector<std::int32_t> weights;

  Taps(int in, int out, int begin, int count, Filter filter) {
    const double scale = static_cast<double>(in) / out;
    const double filter_scale = std::max(scale, 1.0);
    const double support = (filter == Filter::bilinear ? 1.0 : 2.0) * filter_scale;
    const double inverse = 1.0 / filter_scale;
    stride = static_cast<int>(std::ceil(support)) * 2 + 1;
    spans.resize(static_cast<std::size_t>(count));
    weights.resize(static_cast<std::size_t>(count) * static_cast<std::size_t>(stride));
    std::vector<double> exact(static_cast<std::size_t>(stride));
    for (int i = 0; i < count; ++i) {
      const double center = (begin + i + 0.5) * scale;
      const int first = std::max(static_cast<int>(center - support + 0.5), 0);
      const int taps = std::min(static_cast<int>(center + support + 0.5), in) - first;
      spans[static_cast<std::size_t>(i)] = {first, taps};
      most = std::max(most, taps);
      double sum = 0.0;
      for (int k = 0; k < taps; ++k) {
        const double x = (k + first - center + 0.5) * inverse;
        exact[static_cast<std::size_t>(k)] = filter == Filter::bilinear ? triangle(x) : cubic(x);
        sum += exact[static_cast<std::size_t>(k)];
      }
      std::int32_t* rounded = weights.data() + static_cast<std::size_t>(i) * static_cast<std::size_t>(stride);
      for (int k = 0; k < taps; ++k) {
        const double weight = exact[static_cast<std::size_t>(k)] / (sum != 0.0 ? sum : 1.0);
        rounded[k] = static_cast<std::int32_t>((weight < 0 ? -0.5 : 0.5) + weight * (1 << precision_bits));
      }
    }
  }

  const std::int32_t* at(int i) const {
    return weights.data() + static_cast<std::size_t>(i) * static_cast<std::size_t>(stride);
  }
};

std::uint8_t clip(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> precision_bits, 0, 255));
}

// Calls f with the number of taps as a constant where it is small, so that the loop over them unrolls.
template <class F>
void with_taps(int taps, F&& f) {
  switch (taps) {
    case 2:
      return f(std::integral_constant<int, 2>{});
    case 3:
      return f(std::integral_constant<int, 3>{});
    case 4:
      return f(std::integral_constant<int, 4>{});
    case 5:
      return f(std::integral_constant<int, 5>{});
    case 6:
      return f(std::integral_constant<int, 6>{});
    default:
      return f(taps);
  }
}

// Three colours and one lane unused: one vector register a pixel.
using Pixel = std::int32_t __attribute__((vector_size(16)));
using PixelBytes = std::uint8_t __attribute__((vector_size(4)));

// One row along x. `wide` holds the row's pixels from column `origin` on and taps.most zeros behind them.
void row_along_x(std::uint8_t* to, const Pixel* wide, int origin, const Taps& taps) {
  with_taps(taps.most, [&](auto count) {
    const int width = static_cast<int>(taps.spans.size());
    for (int x = 0; x < width; ++x, to += 3) {
      const std::int32_t* weights = taps.at(x);
      const Pixel* from = wide + (taps.spans[static_cast<std::size_t>(x)].first - origin);
      Pixel sum = {half, half, half, half};
      for (int k = 0; k < count; ++k) sum += from[k] * weights[k];
      sum >>= precision_bits;
      sum = sum < 0 ? Pixel{} : sum;
      sum = sum > 255 ? Pixel{255, 255, 255, 255} : sum;
      const PixelBytes bytes = __builtin_convertvector(sum, PixelBytes);
      // A fourth byte is cheaper to write than to leave out; the next pixel overwrites it.
      std::memcpy(to, &bytes, x + 1 < width ? 4 : 3);
    }
  });
}

// One row along y: the weighted sum of `taps` rows of `width` bytes each.
void row_along_y(std::uint8_t* __restrict to, const std::uint8_t* __restrict rows, std::size_t width,
                 const std::int32_t* weights, int taps) {
  with_taps(taps, [=](auto count) {
    constexpr std::size_t block = 1024;  // sums stay in the first cache
    std::int32_t sums[block];
    for (std::size_t begin = 0; begin < width; begin += block) {
      const std::size_t n = std::min(block, width - begin);
      if constexpr (std::is_same_v<decltype(count), int>) {
        std::fill_n(sums, n, half);
        for (int k = 0; k < count; ++k) {
          const std::uint8_t* row = rows + static_cast<std::size_t>(k) * width + begin;
          const std::int32_t weight = weights[k];
          for (std::size_t i = 0; i < n; ++i) sums[i] += weight * row[i];
        }
        for (std::size_t i = 0; i < n; ++i) to[begin + i] = clip(sums[i]);
      } else {
        std::int32_t w[count];
        std::copy_n(weights, count, w);
        for (std::size_t i = begin; i < begin + n; ++i) {
          std::int32_t sum = half;
          for (std::size_t k = 0; k < count; ++k) sum += w[k] * rows[k * width + i];
          to[i] = clip(sum);
        }
      }
    }
  });
}

// The window of width x height pixels at (x, y) of the image scaled to full_width x full_height.
Tensor resample(const Tensor& image, int full_width, int full_height, int x, int y, int width, int height,
                Filter filter) {
  const int in_width = static_cast<int>(image.dim(1)), in_height = static_cast<int>(image.dim(0));
  const Taps along_y(in_height, full_height, y, height, filter);
  // Only the rows that the window needs; the spans rise with y.
  int first_row = 0, last_row = in_height;
  const bool scale_y = full_height != in_height;
  if (scale_y) {
    first_row = along_y.spans.front().first;
    last_row = along_y.spans.back().first + along_y.spans.back().count;
  } else {
    first_row = y;
    last_row = y + height;
  }

  Tensor rows;
  const int row_count = last_row - first_row;
  if (full_width != in_width) {
    const Taps along_x(in_width, full_width, x, width, filter);
    const int origin = along_x.spans.front().first;
    const int used = along_x.spans.back().first + along_x.spans.back().count - origin;
    std::vector<Pixel> wide(static_cast<std::size_t>(used + along_x.most));
    rows = Tensor({row_count, width, 3}, DType::uint8);
    std::uint8_t* to = rows.data<std::uint8_t>();
    for (std::int64_t row = first_row; row < last_row; ++row, to += std::int64_t{width} * 3) {
      const std::uint8_t* from = image.data<std::uint8_t>() + (row * in_width + origin) * 3;
      for (int i = 0; i < used; ++i, from += 3)
        wide[static_cast<std::size_t>(i)] = Pixel{from[0], from[1], from[2], 0};
      row_along_x(to, wide.data(), origin, along_x);
    }
  } else {
    rows = crop(image, x, first_row, width, row_count);
  }
  if (!scale_y) return rows;

  Tensor result({height, width, 3}, DType::uint8);
  const std::size_t bytes = static_cast<std::size_t>(width) * 3;
  for (int i = 0; i < height; ++i) {
    const auto [first, count] = along_y.spans[static_cast<std::size_t>(i)];
    row_along_y(result.data<std::uint8_t>() + static_cast<std::size_t>(i) * bytes,
                rows.data<std::uint8_t>() + static_cast<std::size_t>(first - first_row) * bytes, bytes,
                along_y.at(i), count);
  }
  return result;
}

void check_size(const char* operation, std::int64_t width, std::int64_t height) {
  VITRAL_CHECK(width > 0 && height > 0 && width <= max_image_pixels / height,
               "{}: cannot make an image of {} x {} pixels", operation, width, height);
}

}  // namespace

Tensor resize(const Tensor& image, int width, int height, Filter filter) {
  check_image("resize", image);
  check_size("resize", width, height);
  if (image.dim(0) == height && image.dim(1) == width) return image;
  return resample(image, width, height, 0, 0, width, height, filter);
}

Tensor crop(const Tensor& image, int x, int y, int width, int height) {
  check_image("crop", image);
  VITRAL_CHECK(
      x >= 0 && y >= 0 && width > 0 && height > 0 && width <= image.dim(1) - x && height <= image.dim(0) - y,
      "crop: {} x {} pixels at ({}, {}) are not inside an image of {} x {}", width, height, x, y,
      image.dim(1), image.dim(0));
  Tensor result({height, width, 3}, DType::uint8);
  const std::uint8_t* from =
      image.data<std::uint8_t>() + (static_cast<std::int64_t>(y) * image.dim(1) + x) * 3;
  for (int row = 0; row < height; ++row)
    std::memcpy(result.data<std::uint8_t>() + static_cast<std::int64_t>(row) * width * 3,
                from + row * image.dim(1) * 3, static_cast<std::size_t>(width) * 3);
  return result;
}

Tensor resize_shortest_center_crop(const Tensor& image, int size, Filter filter) {
  check_image("resize_shortest_center_crop", image);
  check_size("resize_shortest_center_crop", size, size);
  const std::int64_t in_width = image.dim(1), in_height = image.dim(0);
  const std::int64_t shorter = std::min(in_width, in_height);
  const std::int64_t width = size * in_width / shorter, height = size * in_height / shorter;
  VITRAL_CHECK(std::max(width, height) <= max_image_pixels,
               "resize_shortest_center_crop: an image of {} x {} is too narrow", in_width, in_height);
  // Half the margin, a half rounded to even.
  const auto offset = [size](std::int64_t length) {
    const std::int64_t margin = length - size;
    return static_cast<int>(margin / 2 + (margin % 2) * (margin / 2 % 2));
  };
  return resample(image, static_cast<int>(width), static_cast<int>(height), offset(width), offset(height),
                  size, size, filter);
}

}  // namespace vitral::data
