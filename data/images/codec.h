// The image formats behind data/images/image.h, one file each; image.cpp has the table of them.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "tensor/tensor.h"

namespace vitral::data {

using Bytes = std::span<const std::uint8_t>;

struct Decoded {
  Tensor pixels;        // uint8 [H,W,3] as they stand in the file
  int orientation = 1;  // Exif: 1..8, 1 where none is told
};

bool is_jpeg(Bytes bytes);
bool is_png(Bytes bytes);
/// The whole file; Error that begins with `name`. Of `min_side` see decode_image().
Decoded decode_jpeg(Bytes bytes, const std::string& name, std::int64_t min_side);
Decoded decode_png(Bytes bytes, const std::string& name, std::int64_t min_side);

/// Throws Error where width x height is beyond max_image_pixels, or beyond `bytes_limit`, the most pixels
/// that a file of this length can hold: memory is asked for only in proportion to the file.
void check_image_size(const std::string& name, const char* format, std::int64_t width, std::int64_t height,
                      std::int64_t bytes_limit);

/// The orientation in an Exif block (a TIFF header and its first directory, with or without "Exif\0\0" before
/// it); 1 where it tells none or is damaged.
int exif_orientation(Bytes block);
/// The picture as its viewers see it (Exif 2.3, tag 274): 2, 4 mirrored, 3 by half a turn, 5 to 8 transposed.
Tensor upright(const Tensor& image, int orientation);

}  // namespace vitral::data
