#include "data/images/color.h"

#include <algorithm>
#include <array>

#include "base/clones.h"
#include "base/exact_float.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

using Table = std::array<std::uint8_t, 256>;

VITRAL_INLINE int luma(const std::uint8_t* rgb) {
  return static_cast<int>((rgb[0] * 19595U + rgb[1] * 38470U + rgb[2] * 7471U + 0x8000U) >> 16);
}

// Pillow's Blend.c in float32: the product and the sum round apart, the result towards zero.
VITRAL_INLINE std::uint8_t blend(int base, int value, float factor) {
  const float mixed = static_cast<float>(base) + factor * static_cast<float>(value - base);
  const float positive = mixed < 0.0F ? 0.0F : mixed;
  return static_cast<std::uint8_t>(static_cast<int>(positive > 255.0F ? 255.0F : positive));
}

// At most 2^24 pixels: 32 bits hold their sum.
VITRAL_CLONES std::uint32_t sum_of_luma(const std::uint8_t* rgb, std::int64_t pixels) {
  std::uint32_t sum = 0;
  for (std::int64_t i = 0; i < pixels; ++i) sum += static_cast<std::uint32_t>(luma(rgb + 3 * i));
  return sum;
}

VITRAL_CLONES void blend_with_luma(std::uint8_t* __restrict to, const std::uint8_t* __restrict from,
                                   std::int64_t pixels, float factor) {
  for (std::int64_t i = 0; i < pixels; ++i) {
    const int gray = luma(from + 3 * i);
    for (int c = 0; c < 3; ++c) to[3 * i + c] = blend(gray, from[3 * i + c], factor);
  }
}

VITRAL_CLONES void to_luma(std::uint8_t* __restrict to, const std::uint8_t* __restrict from,
                           std::int64_t pixels) {
  for (std::int64_t i = 0; i < pixels; ++i) {
    const auto gray = static_cast<std::uint8_t>(luma(from + 3 * i));
    for (int c = 0; c < 3; ++c) to[3 * i + c] = gray;
  }
}

VITRAL_CLONES void blend_with_constant(std::uint8_t* __restrict to, const std::uint8_t* __restrict from,
                                       std::int64_t count, int base, float factor) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = blend(base, from[i], factor);
}

VITRAL_CLONES void keep_bits(std::uint8_t* __restrict to, const std::uint8_t* __restrict from,
                             std::int64_t count, std::uint8_t mask) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = from[i] & mask;
}

Tensor blend_with_constant(const Tensor& image, int base, float factor) {
  Tensor result(image.shape(), DType::uint8);
  blend_with_constant(result.data<std::uint8_t>(), image.data<std::uint8_t>(), image.numel(), base, factor);
  return result;
}

void check_factor(const char* operation, float factor) {
  VITRAL_CHECK(factor >= 0 && factor <= 1e6F, "{}: factor {} must be 0 or more", operation, factor);
}

}  // namespace

Tensor adjust_brightness(const Tensor& image, float factor) {
  check_image("adjust_brightness", image);
  check_factor("adjust_brightness", factor);
  return blend_with_constant(image, 0, factor);
}

Tensor adjust_contrast(const Tensor& image, float factor) {
  check_image("adjust_contrast", image);
  check_factor("adjust_contrast", factor);
  const std::uint8_t* rgb = image.data<std::uint8_t>();
  const std::int64_t pixels = image.numel() / 3;
  constexpr std::int64_t block = 1 << 20;
  std::int64_t sum = 0;
  for (std::int64_t begin = 0; begin < pixels; begin += block)
    sum += sum_of_luma(rgb + 3 * begin, std::min(block, pixels - begin));
  const double mean = static_cast<double>(sum) / static_cast<double>(pixels);
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): as Pillow
  return blend_with_constant(image, static_cast<int>(mean + 0.5), factor);
}

Tensor adjust_saturation(const Tensor& image, float factor) {
  check_image("adjust_saturation", image);
  check_factor("adjust_saturation", factor);
  Tensor result(image.shape(), DType::uint8);
  blend_with_luma(result.data<std::uint8_t>(), image.data<std::uint8_t>(), image.numel() / 3, factor);
  return result;
}

Tensor grayscale(const Tensor& image) {
  check_image("grayscale", image);
  Tensor result(image.shape(), DType::uint8);
  to_luma(result.data<std::uint8_t>(), image.data<std::uint8_t>(), image.numel() / 3);
  return result;
}

Tensor posterize(const Tensor& image, int bits) {
  check_image("posterize", image);
  VITRAL_CHECK(bits >= 1 && bits <= 8, "posterize: bits {} must be 1..8", bits);
  Tensor result(image.shape(), DType::uint8);
  keep_bits(result.data<std::uint8_t>(), image.data<std::uint8_t>(), image.numel(),
            static_cast<std::uint8_t>(0xFFU << (8 - bits)));
  return result;
}

Tensor autocontrast(const Tensor& image) {
  check_image("autocontrast", image);
  const std::uint8_t* from = image.data<std::uint8_t>();
  const std::int64_t count = image.numel();
  std::array<int, 3> low{255, 255, 255}, high{};
  for (std::int64_t i = 0; i < count; i += 3)
    for (std::size_t c = 0; c < 3; ++c) {
      const int value = from[i + static_cast<std::int64_t>(c)];
      low[c] = std::min(low[c], value);
      high[c] = std::max(high[c], value);
    }
  std::array<Table, 3> tables;
  for (std::size_t c = 0; c < 3; ++c)
    for (int v = 0; v < 256; ++v) {
      int value = v;
      if (high[c] > low[c]) {
        const double scale = 255.0 / (high[c] - low[c]);
        const double offset = -low[c] * scale;
        value = std::clamp(static_cast<int>(v * scale + offset), 0, 255);
      }
      tables[c][static_cast<std::size_t>(v)] = static_cast<std::uint8_t>(value);
    }
  Tensor result(image.shape(), DType::uint8);
  std::uint8_t* to = result.data<std::uint8_t>();
  for (std::int64_t i = 0; i < count; i += 3)
    for (std::size_t c = 0; c < 3; ++c)
      to[i + static_cast<std::int64_t>(c)] = tables[c][from[i + static_cast<std::int64_t>(c)]];
  return result;
}

}  // namespace vitral::data
