#include "infer/show/thumbnail.h"

#include <algorithm>

namespace vitral::infer {

Rect fit(const Tensor& image, std::int64_t x, std::int64_t y, std::int64_t cell) {
  const std::int64_t height = image.dim(0), width = image.dim(1), longest = std::max(height, width);
  const std::int64_t h = std::max<std::int64_t>(1, cell * height / longest);
  const std::int64_t w = std::max<std::int64_t>(1, cell * width / longest);
  return {x + (cell - w) / 2, y + (cell - h) / 2, w, h};
}

Colour image_colour(const Tensor& image, const Rect& at, std::int64_t x, std::int64_t y) {
  const std::int64_t height = image.dim(0), width = image.dim(1);
  const std::int64_t x0 = x * width / at.width, y0 = y * height / at.height;
  const std::int64_t x1 = std::max(x0 + 1, (x + 1) * width / at.width);
  const std::int64_t y1 = std::max(y0 + 1, (y + 1) * height / at.height);
  std::int64_t sum[3] = {};
  for (std::int64_t i = y0; i < y1; ++i)
    for (std::int64_t j = x0; j < x1; ++j)
      for (std::int64_t c = 0; c < 3; ++c) sum[c] += image.data<std::uint8_t>()[(i * width + j) * 3 + c];
  const std::int64_t count = (y1 - y0) * (x1 - x0);
  const auto mean = [&](std::int64_t c) { return static_cast<std::uint8_t>((sum[c] + count / 2) / count); };
  return {mean(0), mean(1), mean(2)};
}

void draw_image(Canvas& canvas, const Rect& at, const Tensor& image) {
  for (std::int64_t y = 0; y < at.height; ++y)
    for (std::int64_t x = 0; x < at.width; ++x) canvas.set(at.x + x, at.y + y, image_colour(image, at, x, y));
}

}  // namespace vitral::infer
