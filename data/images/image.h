// Images in and out. An image is a Tensor uint8 [H,W,3], RGB, on the CPU.
//
//   Tensor cat = read_image("cat.jpg");
//   write_png("small.png", resize(cat, 224, 224, Filter::bilinear));
//
// Decoding gives what Pillow gives for ImageOps.exif_transpose(Image.open(file)).convert("RGB"): JPEG grey,
// RGB, CMYK and YCCK (libjpeg-turbo with accurate DCT and smooth chroma), PNG of every colour type and depth
// (alpha dropped, gamma not applied, 16 bits cut to the high byte; but grey of 16 bits without alpha is
// clipped at 255, as Pillow does it). docs/formats.md lists the formats and what of each is read.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

/// Width x height above this is refused before any memory is asked for (Pillow's limit for decompression
/// bombs).
inline constexpr std::int64_t max_image_pixels = 178'956'970;

/// Whether the orientation that a camera has noted (Exif tag 274) turns the pixels upright.
enum class Exif { apply, ignore };
constexpr const char* name(Exif exif) { return exif == Exif::apply ? "apply" : "ignore"; }
/// Of "apply" or "ignore".
constexpr Exif exif_of(std::string_view name) { return name == "ignore" ? Exif::ignore : Exif::apply; }

struct Decoding {
  /// Above 0 a JPEG comes at 1/8, 1/4 or 1/2 of its size (rounded up), the smallest at which both sides still
  /// have so many pixels. Large photographs take half the time (their entropy code must be read whatever the
  /// size), but the pixels are others than scaling the whole image down gives.
  std::int64_t min_side = 0;
  Exif exif = Exif::apply;
};

/// So many first bytes of a file tell what it is.
inline constexpr std::size_t image_head = 64;
/// Of the format as whose files the bytes begin, ".jpg"; "" where they begin as none.
std::string_view image_suffix(std::span<const std::uint8_t> bytes);
/// True when the bytes begin as a file of one of the formats does.
bool looks_like_image(std::span<const std::uint8_t> bytes);
/// True for the suffixes of the formats, in whatever case: "a.JPG".
bool has_image_suffix(const std::string& path);

/// A whole image file in memory to uint8 [H,W,3], by its bytes, whatever its name. Throws Error, one line
/// that begins with `name`, on another format, on damaged or truncated pixels (metadata and warnings that
/// leave them whole do not count) and on sizes beyond max_image_pixels or beyond what that many bytes can
/// hold. Threads may decode at the same time.
Tensor decode_image(std::span<const std::uint8_t> bytes, const std::string& name,
                    const Decoding& decoding = {});

/// decode_image of a file. UsageError when there is no such file or it is not a regular one.
Tensor read_image(const std::string& path, const Decoding& decoding = {});

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
