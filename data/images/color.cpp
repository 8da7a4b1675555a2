#include "data/images/color.h"

#include "data/images/augment.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

Tensor blend(const char* operation, const Tensor& image, Augmentation::Base base, float factor) {
  check_image(operation, image);
  VITRAL_CHECK(factor >= 0 && factor <= 1e6F, "{}: factor {} must be 0 or more", operation, factor);
  return apply(image, {.factors = {factor}, .bases = {base}});
}

}  // namespace

Tensor adjust_brightness(const Tensor& image, float factor) {
  return blend("adjust_brightness", image, Augmentation::black, factor);
}

Tensor adjust_contrast(const Tensor& image, float factor) {
  return blend("adjust_contrast", image, Augmentation::mean, factor);
}

Tensor adjust_saturation(const Tensor& image, float factor) {
  return blend("adjust_saturation", image, Augmentation::luma, factor);
}

Tensor grayscale(const Tensor& image) { return blend("grayscale", image, Augmentation::luma, 0); }

Tensor horizontal_flip(const Tensor& image) {
  check_image("horizontal_flip", image);
  return apply(image, {.mirrored = 1});
}

std::uint8_t posterize_mask(int bits) {
  VITRAL_CHECK(bits >= 1 && bits <= 8, "posterize: bits {} must be 1..8", bits);
  return static_cast<std::uint8_t>(0xFFU << (8 - bits));
}

Tensor posterize(const Tensor& image, int bits) {
  check_image("posterize", image);
  return apply(image, {.mask = posterize_mask(bits)});
}

Tensor autocontrast(const Tensor& image) {
  check_image("autocontrast", image);
  return apply(image, {.autocontrast = 1});
}

}  // namespace vitral::data
