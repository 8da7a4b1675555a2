// The numbers in a PNG of one channel as they stand in the file: label maps are stored so.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vitral::data {

struct PngSamples {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint16_t> values;  // [height, width]
};

/// Indices into the palette, or levels of grey of 1 to 16 bits. Error that begins with `name`: no PNG,
/// colours or alpha, damaged, beyond max_image_pixels.
PngSamples decode_png_samples(std::span<const std::uint8_t> bytes, const std::string& name);

}  // namespace vitral::data
