// The arithmetic of augmentations, for one pixel on any device: as Pillow 9.4 and torchvision 0.14 compute
// it, to the bit. Sources of the host that use it include base/exact_float.h first.
#pragma once
#include <cmath>
#include <cstdint>

#include "tensor/ops/pointwise.h"

namespace vitral::pixel {

/// sum + a b, of which the product and the sum round apart.
VITRAL_HD float add_product(float sum, float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(sum, __fmul_rn(a, b));
#else
  return sum + a * b;
#endif
}
VITRAL_HD double add_product(double sum, double a, double b) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(sum, __dmul_rn(a, b));
#else
  return sum + a * b;
#endif
}

/// Rounded towards zero where it is no whole number, limited to what a byte holds.
VITRAL_HD std::uint8_t to_byte(float x) {
  const float positive = x < 0.0F ? 0.0F : x;
  return static_cast<std::uint8_t>(static_cast<int>(positive > 255.0F ? 255.0F : positive));
}

/// L, the brightness: (19595 R + 38470 G + 7471 B + 2^15) / 2^16, rounded down.
template <class T>
VITRAL_HD int luma(const T* rgb) {
  return static_cast<int>((rgb[0] * 19595U + rgb[1] * 38470U + rgb[2] * 7471U + 0x8000U) >> 16);
}

/// The mean of so many L, rounded.
VITRAL_HD int mean_luma(std::uint64_t sum, std::int64_t pixels) {
  const double mean = static_cast<double>(sum) / static_cast<double>(pixels);
  return static_cast<int>(mean + 0.5);  // NOLINT(bugprone-incorrect-roundings): as Pillow
}

/// base + factor (value - base) in float32 (Pillow's Blend.c), rounded towards zero; factor >= 0.
VITRAL_HD std::uint8_t blend(int base, int value, float factor) {
  return to_byte(add_product(static_cast<float>(base), factor, static_cast<float>(value - base)));
}

/// A weighted sum of bytes, rounded to nearest, halves to even.
VITRAL_HD std::uint8_t round_to_byte(float sum) {
  const float positive = sum < 0.0F ? 0.0F : sum;
  return static_cast<std::uint8_t>(static_cast<int>(std::nearbyint(positive > 255.0F ? 255.0F : positive)));
}

/// The position that stands for one up to length - 1 outside of [0, length): mirrored at the outermost pixel.
VITRAL_HD int reflected(int i, int length) { return i < 0 ? -i : i < length ? i : 2 * (length - 1) - i; }

/// A channel whose values are low to high, stretched to 0..255; a constant one stays.
VITRAL_HD std::uint8_t stretch(int value, int low, int high) {
  if (high <= low) return static_cast<std::uint8_t>(value);
  const double scale = 255.0 / (high - low);
  const int stretched = static_cast<int>(add_product(-low * scale, value, scale));
  return static_cast<std::uint8_t>(stretched < 0 ? 0 : stretched > 255 ? 255 : stretched);
}

}  // namespace vitral::pixel
