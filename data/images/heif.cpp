// AVIF by libavif, as Pillow does it, and HEIC by libheif: the same boxes around another code.
#include <cstring>
#include <memory>
#include <vector>

#include <avif/avif.h>
#include <libheif/heif.h>

#include "base/text.h"
#include "data/images/codec.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

// The brands of the file's first box: "ftyp", the major one, a version, compatible ones.
bool has_brand(Bytes bytes, std::initializer_list<std::string_view> brands) {
  if (!holds(bytes, 4, "ftyp")) return false;
  const std::size_t end = std::min<std::size_t>(bytes.size(), std::size_t{bytes[2]} << 8 | bytes[3]);
  for (std::size_t at = 8; at + 4 <= end; at += at == 8 ? 8 : 4)
    for (const std::string_view brand : brands)
      if (holds(bytes, at, brand)) return true;
  return false;
}

// As Pillow tells it from the boxes irot (turns against the clock) and imir.
int orientation_of(const avifImage& image) {
#if AVIF_VERSION_MAJOR >= 1
  const bool left_right = image.imir.axis == 1;
#else
  const bool left_right = image.imir.mode == 1;
#endif
  const bool mirrored = image.transformFlags & AVIF_TRANSFORM_IMIR;
  const int turns = image.transformFlags & AVIF_TRANSFORM_IROT ? image.irot.angle & 3 : 0;
  static constexpr int plain[] = {1, 8, 3, 6}, by_rows[] = {4, 5, 2, 7}, by_columns[] = {2, 7, 4, 5};
  return (!mirrored ? plain : left_right ? by_columns : by_rows)[turns];
}

struct FreeHeif {
  void operator()(heif_context* p) const { heif_context_free(p); }
  void operator()(heif_image_handle* p) const { heif_image_handle_release(p); }
  void operator()(heif_image* p) const { heif_image_release(p); }
};

}  // namespace

bool is_avif(Bytes bytes) { return has_brand(bytes, {"avif", "avis"}); }
bool is_heic(Bytes bytes) {
  return !is_avif(bytes) &&
         has_brand(bytes, {"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"});
}

Decoded decode_avif(Bytes bytes, const std::string& name, std::int64_t /*min_side*/) {
  const std::unique_ptr<avifDecoder, void (*)(avifDecoder*)> decoder(avifDecoderCreate(), avifDecoderDestroy);
  const auto check = [&](avifResult result) {
    if (result != AVIF_RESULT_OK) throw_error("{}: corrupt AVIF: {}", name, avifResultToString(result));
  };
  decoder->maxThreads = 1;
  decoder->ignoreExif = decoder->ignoreXMP = AVIF_TRUE;
  decoder->strictFlags = AVIF_STRICT_DISABLED;
  decoder->imageSizeLimit = static_cast<std::uint32_t>(max_image_pixels);
  check(avifDecoderSetIOMemory(decoder.get(), bytes.data(), bytes.size()));
  check(avifDecoderParse(decoder.get()));
  const avifImage& image = *decoder->image;
  const std::int64_t width = image.width, height = image.height;
  check_image_size(name, "AVIF", width, height, max_image_pixels);
  check(avifDecoderNextImage(decoder.get()));
  if (image.width != width || image.height != height)
    throw_error("{}: corrupt AVIF: its image has another size than it says", name);
  Decoded out{Tensor({height, width, 3}, DType::uint8), orientation_of(image)};
  avifRGBImage rgb{};
  avifRGBImageSetDefaults(&rgb, &image);
  rgb.depth = 8;
  auto* pixels = out.pixels.data<std::uint8_t>();
  if (!image.alphaPlane) {
    rgb.format = AVIF_RGB_FORMAT_RGB;
    rgb.pixels = pixels;
    rgb.rowBytes = static_cast<std::uint32_t>(3 * width);
    check(avifImageYUVToRGB(&image, &rgb));
    return out;
  }
  // Into three channels libavif would multiply with the alpha.
  std::vector<std::uint8_t> with_alpha(static_cast<std::size_t>(4 * width * height));
  rgb.format = AVIF_RGB_FORMAT_RGBA;
  rgb.pixels = with_alpha.data();
  rgb.rowBytes = static_cast<std::uint32_t>(4 * width);
  check(avifImageYUVToRGB(&image, &rgb));
  for (std::int64_t i = 0; i < width * height; ++i) std::memcpy(pixels + 3 * i, with_alpha.data() + 4 * i, 3);
  return out;
}

// libheif turns the picture itself: in these files the turn is part of the picture, not of a camera's notes.
Decoded decode_heic(Bytes bytes, const std::string& name, std::int64_t /*min_side*/) {
  const std::unique_ptr<heif_context, FreeHeif> context(heif_context_alloc());
  const auto check = [&](const heif_error& error) {
    if (error.code == heif_error_Ok) return;
    const std::string_view text = error.message;
    const std::string line = one_line(text.substr(0, text.find('\n')));
    if (error.code == heif_error_Unsupported_filetype || error.code == heif_error_Unsupported_feature)
      throw_error("{}: HEIC: {}; the package libheif-plugin-libde265 may be missing", name, line);
    throw_error("{}: corrupt HEIC: {}", name, line);
  };
  check(heif_context_read_from_memory_without_copy(context.get(), bytes.data(), bytes.size(), nullptr));
  heif_image_handle* found = nullptr;
  check(heif_context_get_primary_image_handle(context.get(), &found));
  const std::unique_ptr<heif_image_handle, FreeHeif> handle(found);
  check_image_size(name, "HEIC", heif_image_handle_get_width(found), heif_image_handle_get_height(found),
                   max_image_pixels);
  heif_image* decoded = nullptr;
  check(heif_decode_image(found, &decoded, heif_colorspace_RGB, heif_chroma_interleaved_RGB, nullptr));
  const std::unique_ptr<heif_image, FreeHeif> image(decoded);
  const std::int64_t width = heif_image_get_width(decoded, heif_channel_interleaved);
  const std::int64_t height = heif_image_get_height(decoded, heif_channel_interleaved);
  int stride = 0;
  const std::uint8_t* rows = heif_image_get_plane_readonly(decoded, heif_channel_interleaved, &stride);
  if (!rows) throw_error("{}: corrupt HEIC: it has no pixels", name);
  check_image_size(name, "HEIC", width, height, max_image_pixels);
  Decoded out{Tensor({height, width, 3}, DType::uint8)};
  for (std::int64_t y = 0; y < height; ++y)
    std::memcpy(out.pixels.data<std::uint8_t>() + 3 * width * y, rows + y * stride,
                static_cast<std::size_t>(3 * width));
  return out;
}

}  // namespace vitral::data
