// Images in and out. An image is a Tensor uint8 [H,W,3], RGB, on the CPU.
//
//   Tensor cat = read_image("cat.jpg");
//   write_png("small.png", resize(cat, 224, 224, Filter::bilinear));
//
// Decoding gives what Pillow 9.4 gives for Image.open(file).convert("RGB"): JPEG grey, RGB, CMYK and YCCK
// (libjpeg-turbo with accurate DCT and smooth chroma; Exif orientation is not applied), PNG of every colour
// type and depth (alpha dropped, gamma not applied, 16 bits cut to the high byte; but grey of 16 bits without
// alpha is clipped at 255, as Pillow does it).
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

/// Width x height above this is refused before any memory is asked for (Pillow's limit for decompression
/// bombs).
inline constexpr std::int64_t max_image_pixels = 178'956'970;

/// True when the bytes begin as a JPEG or PNG file does.
bool looks_like_image(std::span<const std::uint8_t> bytes);

/// A whole JPEG or PNG file in memory to uint8 [H,W,3]. Throws Error, one line that begins with `name`, on
/// another format, damaged or truncated data (whatever libjpeg warns about counts as damage) and on sizes
/// beyond max_image_pixels or beyond what that many bytes can hold. Threads may decode at the same time.
///
/// With `min_side` > 0 a JPEG comes at 1/8, 1/4 or 1/2 of its size (rounded up), the smallest at which both
/// sides still have `min_side` pixels. Large photographs take half the time (their entropy code must be read
/// whatever the size), but the pixels are others than scaling the whole image down gives.
Tensor decode_image(std::span<const std::uint8_t> bytes, const std::string& name, std::int64_t min_side = 0);

/// decode_image of a file. UsageError when there is no such file or it is not a regular one.
Tensor read_image(const std::string& path, std::int64_t min_side = 0);

/// The `min_side` for an image that is going to be scaled to `size` pixels a side: twice as many, so that
/// little of the difference is left.
constexpr std::int64_t min_side_for(std::int64_t size) { return 2 * size; }

/// PNG, 8-bit RGB.
std::vector<std::uint8_t> encode_png(const Tensor& image);
/// JPEG with 4:2:0 chroma; the same coefficients as Pillow's save(quality=quality). Quality 1..100.
std::vector<std::uint8_t> encode_jpeg(const Tensor& image, int quality);
/// Replaces the file, whole or not at all: a failed write (full disk, no such folder) throws Error and leaves
/// the old file as it was. Devices and pipes are written to.
void write_png(const std::string& path, const Tensor& image);
/// The same as PNG or JPEG (quality 92), whichever the name asks for: .png, .jpg, .jpeg.
void write_image(const std::string& path, const Tensor& image);
/// UsageError where write_image() does not know what the name asks for.
void check_image_name(const std::string& path);

/// Throws UsageError unless `image` is uint8 [H,W,3] on the CPU with H, W >= 1; `operation` opens the
/// message.
void check_image(const char* operation, const Tensor& image);

}  // namespace vitral::data
