// The two image formats behind data/images/image.h. Arguments are checked there.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

bool is_jpeg(std::span<const std::uint8_t> bytes);
bool is_png(std::span<const std::uint8_t> bytes);
Tensor decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name, std::int64_t min_side);
Tensor decode_png(std::span<const std::uint8_t> bytes, const std::string& name);

/// Throws Error where width x height is beyond max_image_pixels, or beyond `bytes_limit`, the most pixels
/// that a file of this length can hold: memory is asked for only in proportion to the file.
void check_image_size(const std::string& name, const char* format, std::int64_t width, std::int64_t height,
                      std::int64_t bytes_limit);

}  // namespace vitral::data
