// The image formats behind data/images/image.h, one file each; image.cpp has the table of them.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

using Bytes = std::span<const std::uint8_t>;

struct Decoded {
  Tensor pixels;        // uint8 [H,W,3] as they stand in the file
  int orientation = 1;  // Exif: 1..8, 1 where none is told
};

/// By the first image_head bytes.
bool is_jpeg(Bytes bytes);
bool is_png(Bytes bytes);
bool is_webp(Bytes bytes);
bool is_gif(Bytes bytes);
bool is_bmp(Bytes bytes);
bool is_tiff(Bytes bytes);
bool is_pnm(Bytes bytes);
bool is_avif(Bytes bytes);
bool is_heic(Bytes bytes);

/// The whole file; Error that begins with `name`. Of `min_side` see decode_image().
using Decode = Decoded(Bytes bytes, const std::string& name, std::int64_t min_side);
Decode decode_jpeg, decode_png, decode_webp, decode_gif, decode_bmp, decode_tiff, decode_pnm, decode_avif,
    decode_heic;

/// True where `text` stands at a place.
inline bool holds(Bytes bytes, std::size_t at, std::string_view text) {
  return bytes.size() >= at + text.size() && std::memcmp(bytes.data() + at, text.data(), text.size()) == 0;
}

/// decode_image() before the picture is turned.
Decoded decode_as_stored(Bytes bytes, const std::string& name, std::int64_t min_side = 0);

/// Pillow's conversion (9.4 Convert.c, cmyk2rgb); `ink` counts what is left of the white: inverted CMYK.
void cmyk_to_rgb(std::uint8_t* rgb, const std::uint8_t* ink, std::int64_t pixels);

/// Throws Error where width x height is beyond max_image_pixels, or beyond `bytes_limit`, the most pixels
/// that a file of this length can hold: memory is asked for only in proportion to the file.
void check_image_size(const std::string& name, const char* format, std::int64_t width, std::int64_t height,
                      std::int64_t bytes_limit);

/// The orientation in an Exif block (a TIFF header and its first directory, with or without "Exif\0\0" before
/// it); 1 where it tells none or is damaged.
int exif_orientation(Bytes block);
/// What an orientation (Exif 2.3, tag 274) does to a picture: it is mirrored, then its rows become columns.
struct Turning {
  bool mirrors_x = false, mirrors_y = false, transposes = false;
};
Turning turning_of(int orientation);
/// The picture as its viewers see it.
Tensor upright(const Tensor& image, int orientation);
/// The same for a number a pixel, [height,width].
std::vector<std::uint16_t> upright(const std::vector<std::uint16_t>& values, std::int64_t height,
                                   std::int64_t width, int orientation);

}  // namespace vitral::data
