#include "data/images/image.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>

#include "base/files/atomic.h"
#include "base/files/input_file.h"
#include "base/memory.h"
#include "data/images/codec.h"

namespace vitral::data {
namespace {

constexpr int jpeg_quality = 92;

// `suffixes`: ".jpg .jpeg"
bool has_suffix(const std::string& path, std::string_view suffixes) {
  std::string suffix = std::filesystem::path(path).extension().string();
  for (char& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return (' ' + std::string(suffixes) + ' ').find(' ' + suffix + ' ') != std::string::npos;
}

struct Codec {
  std::string_view suffixes;
  bool (*is)(Bytes bytes);
  Decode* decode;
};

constexpr std::array codecs{
    Codec{".jpg .jpeg .jpe .jfif", is_jpeg, decode_jpeg},
    Codec{".png .apng", is_png, decode_png},
    Codec{".webp", is_webp, decode_webp},
    Codec{".gif", is_gif, decode_gif},
    Codec{".bmp .dib", is_bmp, decode_bmp},
    Codec{".tif .tiff", is_tiff, decode_tiff},
    Codec{".ppm .pgm .pbm .pnm", is_pnm, decode_pnm},
    Codec{".avif", is_avif, decode_avif},
    Codec{".heic .heif .hif", is_heic, decode_heic},
};

const Codec* codec_of(Bytes bytes) {
  const auto* found = std::find_if(codecs.begin(), codecs.end(), [&](const Codec& c) { return c.is(bytes); });
  return found == codecs.end() ? nullptr : found;
}

void write_bytes(const std::string& path, const std::vector<std::uint8_t>& bytes) {
  write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

void check_image(const char* operation, const Tensor& image) {
  VITRAL_CHECK(image.defined(), "{}: no image", operation);
  VITRAL_CHECK(image.dtype() == DType::uint8 && image.rank() == 3 && image.dim(2) == 3 &&
                   image.device() == cpu && image.numel() > 0,
               "{}: an image must be uint8 [H, W, 3] on the CPU, not {} {} on {}", operation, image.dtype(),
               image.shape(), image.device().str());
}

void check_image_size(const std::string& name, const char* format, std::int64_t width, std::int64_t height,
                      std::int64_t bytes_limit) {
  if (width < 1 || height < 1) throw_error("{}: corrupt {}: no pixels", name, format);
  // Both formats hold width and height in 32 bits, so the product cannot overflow.
  const std::int64_t pixels = width * height;
  if (pixels > max_image_pixels)
    throw_error("{}: {} x {} pixels are more than the limit of {}; scale the image down", name, width, height,
                max_image_pixels);
  if (pixels > bytes_limit)
    throw_error("{}: corrupt {}: too short for its {} x {} pixels", name, format, width, height);
}

std::string_view image_suffix(Bytes bytes) {
  const Codec* codec = codec_of(bytes);
  return codec ? codec->suffixes.substr(0, codec->suffixes.find(' ')) : "";
}

bool looks_like_image(Bytes bytes) { return codec_of(bytes) != nullptr; }

bool has_image_suffix(const std::string& path) {
  return std::any_of(codecs.begin(), codecs.end(),
                     [&](const Codec& codec) { return has_suffix(path, codec.suffixes); });
}

Decoded decode_as_stored(Bytes bytes, const std::string& name, std::int64_t min_side) {
  if (bytes.empty()) throw_error("{}: empty, not an image", name);
  const Codec* codec = codec_of(bytes);
  if (!codec) throw_error("{}: not an image of a known format", name);
  try {
    return codec->decode(bytes, name, min_side);
  } catch (const ReadError&) {
    throw;
  } catch (const Error&) {  // which decoders say, too, that get no memory
    if (memory_is_short()) throw_error<MemoryError>("{}: cannot be decoded, memory is used up", name);
    throw;
  }
}

Tensor decode_image(Bytes bytes, const std::string& name, const Decoding& decoding) {
  const Decoded decoded = decode_as_stored(bytes, name, decoding.min_side);
  return decoding.exif == Exif::apply ? upright(decoded.pixels, decoded.orientation) : decoded.pixels;
}

Tensor read_image(const std::string& path, const Decoding& decoding) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw_error<UsageError>("{}: not a file; name an image", path);
  const InputFile file(path);
  const auto size = static_cast<std::size_t>(file.size());
  // The first bytes first: a large file of another kind is refused without reading it.
  std::vector<std::uint8_t> bytes(std::min(size, image_head));
  file.read(0, bytes.data(), bytes.size());
  if (looks_like_image(bytes)) {
    bytes.resize(size);
    file.read(0, bytes.data(), size);
  }
  return decode_image(bytes, path, decoding);
}

void write_png(const std::string& path, const Tensor& image) { write_bytes(path, encode_png(image)); }

void check_image_name(const std::string& path) {
  if (!has_suffix(path, ".png .jpg .jpeg"))
    throw_error<UsageError>("{}: pictures are PNG or JPEG, name a .png, .jpg or .jpeg file", path);
}

void write_image(const std::string& path, const Tensor& image) {
  check_image_name(path);
  write_bytes(path, has_suffix(path, ".png") ? encode_png(image) : encode_jpeg(image, jpeg_quality));
}

}  // namespace vitral::data
