#include "data/images/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/clones.h"
#include "base/exact_float.h"
#include "data/images/image.h"

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
      // NOLINTBEGIN(bugprone-incorrect-roundings): as Pillow
      const int first = std::max(static_cast<int>(center - support + 0.5), 0);
      const int taps = std::min(static_cast<int>(center + support + 0.5), in) - first;
      // NOLINTEND(bugprone-incorrect-roundings)
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

VITRAL_INLINE std::uint8_t clip(std::int32_t sum) {
  const std::int32_t value = sum >> precision_bits;
  return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// One vector register a pixel: three colours and a lane that is not used.
using Pixel = std::int32_t __attribute__((vector_size(16)));
using Bytes = std::uint8_t __attribute__((vector_size(16)));
using Words = std::uint16_t __attribute__((vector_size(16)));

// Bytes to int32 lanes; the fourth lane is not used.
VITRAL_CLONES void widen(Pixel* to, const std::uint8_t* rgb, int pixels) {
  for (int i = 0; i + 1 < pixels; ++i, rgb += 3) {
    std::int32_t four = 0;  // one byte of the next pixel
    std::memcpy(&four, rgb, 4);
    const Pixel first = {four, 0, 0, 0};
    // In two steps, each of which is one instruction of any x86-64.
    const auto words = reinterpret_cast<Words>(__builtin_shufflevector(
        reinterpret_cast<Bytes>(first), Bytes{}, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
    to[i] = reinterpret_cast<Pixel>(__builtin_shufflevector(words, Words{}, 0, 8, 1, 9, 2, 10, 3, 11));
  }
  to[pixels - 1] = Pixel{rgb[0], rgb[1], rgb[2], 0};
}

// The loops over taps are compiled for each of the small numbers, so that they unroll; N = 0: any number.

template <int N>
VITRAL_INLINE void sum_along_x(std::uint8_t* to, const Pixel* from, int origin, const Taps::Span* spans,
                               const std::int32_t* weights, int stride, int width, int taps) {
  for (int x = 0; x < width; ++x, to += 3, weights += stride) {
    const Pixel* pixels = from + (spans[x].first - origin);
    Pixel sum = {half, half, half, half};
    for (int k = 0; k < (N ? N : taps); ++k) sum += pixels[k] * weights[k];
    sum >>= precision_bits;
    sum = sum < 0 ? Pixel{} : sum;
    sum = sum > 255 ? Pixel{255, 255, 255, 255} : sum;
    const Bytes low = reinterpret_cast<Bytes>(sum);
    const Bytes packed =
        __builtin_shufflevector(low, low, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    std::memcpy(to, &packed, 4);  // the next pixel overwrites the fourth byte
  }
}

// One row along x: to[x] is the sum of from[spans[x].first - origin + k] * weights[x * stride + k], k < taps.
// One byte is written behind the end of `to`.
VITRAL_CLONES void row_along_x(std::uint8_t* to, const Pixel* from, int origin, const Taps::Span* spans,
                               const std::int32_t* weights, int stride, int width, int taps) {
  switch (taps) {
    case 2:
      return sum_along_x<2>(to, from, origin, spans, weights, stride, width, taps);
    case 3:
      return sum_along_x<3>(to, from, origin, spans, weights, stride, width, taps);
    case 4:
      return sum_along_x<4>(to, from, origin, spans, weights, stride, width, taps);
    case 5:
      return sum_along_x<5>(to, from, origin, spans, weights, stride, width, taps);
    case 6:
      return sum_along_x<6>(to, from, origin, spans, weights, stride, width, taps);
    default:
      return sum_along_x<0>(to, from, origin, spans, weights, stride, width, taps);
  }
}

template <int N>
VITRAL_INLINE void sum_along_y(std::uint8_t* __restrict to, const std::uint8_t* __restrict rows,
                               std::int64_t width, const std::int32_t* weights) {
  std::int32_t w[N];
  for (int k = 0; k < N; ++k) w[k] = weights[k];
  for (std::int64_t i = 0; i < width; ++i) {
    std::int32_t sum = half;
    for (int k = 0; k < N; ++k) sum += w[k] * rows[k * width + i];
    to[i] = clip(sum);
  }
}

VITRAL_INLINE void sum_along_y(std::uint8_t* __restrict to, const std::uint8_t* __restrict rows,
                               std::int64_t width, const std::int32_t* weights, int taps) {
  constexpr std::int64_t block = 1024;  // sums stay in the first cache
  std::int32_t sums[block];
  for (std::int64_t begin = 0; begin < width; begin += block) {
    const std::int64_t n = begin + block < width ? block : width - begin;
    for (std::int64_t i = 0; i < n; ++i) sums[i] = half;
    for (int k = 0; k < taps; ++k) {
      const std::uint8_t* row = rows + k * width + begin;
      const std::int32_t weight = weights[k];
      for (std::int64_t i = 0; i < n; ++i) sums[i] += weight * row[i];
    }
    for (std::int64_t i = 0; i < n; ++i) to[begin + i] = clip(sums[i]);
  }
}

// One row along y: the weighted sum of `taps` rows of `width` bytes each.
VITRAL_CLONES void row_along_y(std::uint8_t* to, const std::uint8_t* rows, std::int64_t width,
                               const std::int32_t* weights, int taps) {
  switch (taps) {
    case 2:
      return sum_along_y<2>(to, rows, width, weights);
    case 3:
      return sum_along_y<3>(to, rows, width, weights);
    case 4:
      return sum_along_y<4>(to, rows, width, weights);
    case 5:
      return sum_along_y<5>(to, rows, width, weights);
    case 6:
      return sum_along_y<6>(to, rows, width, weights);
    default:
      return sum_along_y(to, rows, width, weights, taps);
  }
}

// The window of width x height pixels at (x, y) of the image scaled to full_width x full_height.
Tensor resample(const Tensor& image, int full_width, int full_height, int x, int y, int width, int height,
                Filter filter) {
  const int in_width = static_cast<int>(image.dim(1)), in_height = static_cast<int>(image.dim(0));
  const Taps along_y(in_height, full_height, y, height, filter);
  // Only the rows that the window needs; the spans rise with y.
  int first_row = y, last_row = y + height;
  const bool scale_y = full_height != in_height;
  if (scale_y) {
    first_row = along_y.spans.front().first;
    last_row = along_y.spans.back().first + along_y.spans.back().count;
  }

  const std::size_t row_bytes = static_cast<std::size_t>(width) * 3;
  Tensor rows;
  const int row_count = last_row - first_row;
  // The image between the two passes: a hostile 1 x 100,000,000 would grow to 224 times that.
  if (row_count > max_image_pixels / width)
    throw_error("resize: an image of {} x {} is too narrow to be scaled to {} x {}", in_width, in_height,
                full_width, full_height);
  if (full_width != in_width) {
    const Taps along_x(in_width, full_width, x, width, filter);
    const int origin = along_x.spans.front().first;
    const int used = along_x.spans.back().first + along_x.spans.back().count - origin;
    std::vector<Pixel> from(static_cast<std::size_t>(used + along_x.most));
    std::vector<std::uint8_t> to(row_bytes + 1);
    rows = Tensor({row_count, width, 3}, DType::uint8);
    for (std::int64_t row = 0; row < row_count; ++row) {
      widen(from.data(), image.data<std::uint8_t>() + ((first_row + row) * in_width + origin) * 3, used);
      row_along_x(to.data(), from.data(), origin, along_x.spans.data(), along_x.weights.data(),
                  along_x.stride, width, along_x.most);
      std::memcpy(rows.data<std::uint8_t>() + static_cast<std::size_t>(row) * row_bytes, to.data(),
                  row_bytes);
    }
  } else {
    rows = crop(image, x, first_row, width, row_count);
  }
  if (!scale_y) return rows;

  Tensor result({height, width, 3}, DType::uint8);
  for (int i = 0; i < height; ++i) {
    const auto [first, count] = along_y.spans[static_cast<std::size_t>(i)];
    row_along_y(result.data<std::uint8_t>() + static_cast<std::size_t>(i) * row_bytes,
                rows.data<std::uint8_t>() + static_cast<std::size_t>(first - first_row) * row_bytes,
                static_cast<std::int64_t>(row_bytes), along_y.at(i), count);
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

namespace {

// The part of one axis that the square shows: pixels [first, first + count), the first of them at `place`.
struct Window {
  int first, count, place;
};

Window window_of(std::int64_t length, int size, OddMargin odd_margin) {
  const std::int64_t margin = length - size, half = margin / 2;  // rounded to zero, as torchvision pads
  std::int64_t begin = half;
  if (odd_margin == OddMargin::down)
    begin = margin >= 0 ? half : -((1 - margin) / 2);
  else if (margin > 0)
    begin += margin % 2 * (half % 2);
  const std::int64_t first = std::max<std::int64_t>(begin, 0), end = std::min(begin + size, length);
  return {static_cast<int>(first), static_cast<int>(end - first), static_cast<int>(first - begin)};
}

}  // namespace

Tensor resize_center_crop(const Tensor& image, std::int64_t width, std::int64_t height, int size,
                          Filter filter, OddMargin odd_margin) {
  check_image("resize_center_crop", image);
  check_size("resize_center_crop", size, size);
  VITRAL_CHECK(width > 0 && height > 0 && std::max(width, height) <= max_image_pixels,
               "resize_center_crop: an image of {} x {} is too narrow for {} x {}", image.dim(1),
               image.dim(0), width, height);
  const Window x = window_of(width, size, odd_margin), y = window_of(height, size, odd_margin);
  Tensor part = resample(image, static_cast<int>(width), static_cast<int>(height), x.first, y.first, x.count,
                         y.count, filter);
  if (x.count == size && y.count == size) return part;
  Tensor padded = Tensor::zeros({size, size, 3}, DType::uint8);
  for (int row = 0; row < y.count; ++row)
    std::memcpy(padded.data<std::uint8_t>() + (std::int64_t{y.place + row} * size + x.place) * 3,
                part.data<std::uint8_t>() + std::int64_t{row} * x.count * 3,
                static_cast<std::size_t>(x.count) * 3);
  return padded;
}

}  // namespace vitral::data
