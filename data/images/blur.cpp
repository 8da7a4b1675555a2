#include "data/images/blur.h"

#include <cmath>

#include "base/exact_float.h"
#include "data/images/augment.h"
#include "data/images/image.h"

namespace vitral::data {

std::vector<float> blur_weights(int kernel, float sigma) {
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

void check_blur(int kernel, float sigma, std::int64_t height, std::int64_t width) {
  VITRAL_CHECK(kernel >= 1 && kernel % 2 == 1, "gaussian_blur: kernel {} must be odd and positive", kernel);
  VITRAL_CHECK(sigma > 0 && std::isfinite(sigma), "gaussian_blur: sigma {} must be positive", sigma);
  VITRAL_CHECK(kernel / 2 < height && kernel / 2 < width,
               "gaussian_blur: kernel {} is too large for an image of {} x {} pixels", kernel, width, height);
}

Tensor gaussian_blur(const Tensor& image, int kernel, float sigma) {
  check_image("gaussian_blur", image);
  check_blur(kernel, sigma, image.dim(0), image.dim(1));
  return apply(image, {.blurred = 1}, blur_weights(kernel, sigma));
}

}  // namespace vitral::data
