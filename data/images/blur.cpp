#include "data/images/blur.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/clones.h"
#include "base/exact_float.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

std::vector<float> gaussian(int kernel, float sigma) {
  std::vector<double> exact(static_cast<std::size_t>(kernel));
  double sum = 0;
  for (int i = 0; i < kernel; ++i) {
    const int offset = i - kernel / 2;
    const double x = offset / static_cast<double>(sigma);
    sum += exact[static_cast<std::size_t>(i)] = std::exp(-0.5 * x * x);
  }
  std::vector<float> weights;
  weights.reserve(exact.size());
  for (const double w : exact) weights.push_back(static_cast<float>(w / sum));
  return weights;
}

int mirror(int i, int length) { return i < 0 ? -i : i < length ? i : 2 * (length - 1) - i; }

// sums += weight * row
VITRAL_CLONES void add_scaled(float* __restrict sums, const float* __restrict row, std::size_t count,
                              float weight) {
  for (std::size_t i = 0; i < count; ++i) sums[i] += weight * row[i];
}

// Rounded to nearest, halves to even.
VITRAL_CLONES void round_to_bytes(std::uint8_t* __restrict to, const float* __restrict from,
                                  std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const float positive = from[i] < 0.0F ? 0.0F : from[i];
    to[i] =
        static_cast<std::uint8_t>(static_cast<int>(std::nearbyint(positive > 255.0F ? 255.0F : positive)));
  }
}

}  // namespace

Tensor gaussian_blur(const Tensor& image, int kernel, float sigma) {
  check_image("gaussian_blur", image);
  const int height = static_cast<int>(image.dim(0)), width = static_cast<int>(image.dim(1)),
            border = kernel / 2;
  VITRAL_CHECK(kernel >= 1 && kernel % 2 == 1, "gaussian_blur: kernel {} must be odd and positive", kernel);
  VITRAL_CHECK(sigma > 0 && std::isfinite(sigma), "gaussian_blur: sigma {} must be positive", sigma);
  VITRAL_CHECK(border < height && border < width,
               "gaussian_blur: kernel {} is too large for an image of {} x {} pixels", kernel, width, height);
  const std::vector<float> weights = gaussian(kernel, sigma);
  const std::size_t bytes = static_cast<std::size_t>(width) * 3, taps = weights.size();

  // Rows blurred along x, as many as one output row needs: row y lies in slot y % kernel. A mirrored row is
  // never farther away than the one it stands for, so it is among them.
  std::vector<float> padded(bytes + static_cast<std::size_t>(2 * border) * 3), ring(taps * bytes),
      sums(bytes);
  const auto slot = [&](int y) { return ring.data() + static_cast<std::size_t>(y % kernel) * bytes; };
  const auto blur_along_x = [&](int y) {
    const std::uint8_t* from = image.data<std::uint8_t>() + static_cast<std::size_t>(y) * bytes;
    std::copy_n(from, bytes, padded.begin() + std::ptrdiff_t{3} * border);
    for (int x = 1; x <= border; ++x)
      for (int c = 0; c < 3; ++c) {
        padded[static_cast<std::size_t>(border - x) * 3 + static_cast<std::size_t>(c)] =
            from[mirror(-x, width) * 3 + c];
        padded[static_cast<std::size_t>(border + width - 1 + x) * 3 + static_cast<std::size_t>(c)] =
            from[mirror(width - 1 + x, width) * 3 + c];
      }
    std::fill_n(slot(y), bytes, 0.0F);
    for (std::size_t k = 0; k < taps; ++k) add_scaled(slot(y), padded.data() + 3 * k, bytes, weights[k]);
  };

  Tensor result(image.shape(), DType::uint8);
  for (int y = 0; y < std::min(border, height); ++y) blur_along_x(y);
  for (int y = 0; y < height; ++y) {
    if (y + border < height) blur_along_x(y + border);
    std::fill(sums.begin(), sums.end(), 0.0F);
    for (std::size_t k = 0; k < taps; ++k)
      add_scaled(sums.data(), slot(mirror(y + static_cast<int>(k) - border, height)), bytes, weights[k]);
    round_to_bytes(result.data<std::uint8_t>() + static_cast<std::size_t>(y) * bytes, sums.data(), bytes);
  }
  return result;
}

}  // namespace vitral::data
