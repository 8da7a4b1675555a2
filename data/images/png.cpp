#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <spng.h>
#include <zlib.h>

#include "data/images/codec.h"
#include "data/images/image.h"
#include "data/images/png_samples.h"

namespace vitral::data {
namespace {

struct FreeContext {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, FreeContext>;

// Colours of the samples 0..255 of an indexed or shallow grey image.
using Palette = std::array<std::array<std::uint8_t, 3>, 256>;

std::uint32_t number_at(const std::uint8_t* at) {
  return std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
}

std::uint32_t checksum(Bytes bytes) {
  return static_cast<std::uint32_t>(crc32_z(crc32_z(0, nullptr, 0), bytes.data(), bytes.size()));
}

// What of a file makes its pixels. The decoder sees nothing else, so that no text, profile or end mark can
// spoil them: the signature, IHDR, IDAT, and an end mark of ours. The palette stays here, too: the decoder
// reads indexed pixels as grey ones.
struct Parts {
  std::vector<std::uint8_t> file;
  Bytes palette, exif;
  bool indexed = false, is_cut_off = false;

  Parts(Bytes bytes, const std::string& name) {
    constexpr std::size_t signature = 8, frame = 12, header_end = signature + frame + 13, color_type = 25;
    file.reserve(bytes.size() + frame);
    file.assign(bytes.begin(), bytes.begin() + signature);
    bool pixels = false;
    for (std::size_t at = signature; bytes.size() - at >= frame;) {
      const std::uint32_t length = number_at(bytes.data() + at);
      const Bytes type = bytes.subspan(at + 4, 4);
      const auto is = [&](const char* other) { return std::memcmp(type.data(), other, 4) == 0; };
      if (is("IEND")) break;
      if (length > bytes.size() - at - frame) {
        // Behind the pixels it does not matter what is cut off.
        if (pixels && !is("IDAT")) break;
        is_cut_off = true;
        break;
      }
      const Bytes data = bytes.subspan(at + 8, length), whole = bytes.subspan(at, length + frame);
      if (is("PLTE")) {
        if (checksum(whole.subspan(4, length + 4)) != number_at(whole.data() + length + 8))
          throw_error("{}: corrupt PNG: invalid chunk CRC", name);
        if (palette.empty()) palette = data;
      } else if (is("eXIf")) {
        if (exif.empty()) exif = data;
      } else if (is("IHDR") || is("IDAT")) {
        file.insert(file.end(), whole.begin(), whole.end());
        pixels = pixels || is("IDAT");
      }
      at += whole.size();
    }
    is_cut_off = is_cut_off || !pixels;
    static constexpr std::array<std::uint8_t, frame> end{0,   0,   0,    0,    'I',  'E',
                                                         'N', 'D', 0xAE, 0x42, 0x60, 0x82};
    file.insert(file.end(), end.begin(), end.end());

    const Bytes header = Bytes(file).subspan(12, 17);
    const bool has_header = file.size() >= header_end && std::memcmp(header.data(), "IHDR", 4) == 0 &&
                            checksum(header) == number_at(file.data() + header_end - 4);
    indexed = has_header && file[color_type] == SPNG_COLOR_TYPE_INDEXED && file[color_type - 1] <= 8;
    if (!indexed) return;
    if (palette.size() < 3) throw_error("{}: corrupt PNG: no palette", name);
    file[color_type] = SPNG_COLOR_TYPE_GRAYSCALE;
    const std::uint32_t crc = checksum(header);
    for (std::size_t i = 0; i < 4; ++i)
      file[header_end - 4 + i] = static_cast<std::uint8_t>(crc >> (24 - 8 * i));
  }
};

// Pillow's palette begins as a grey ramp, so an index beyond the file's palette is a grey.
Palette palette_of(const Parts& parts, int depth) {
  Palette palette;
  const int steps = (1 << depth) - 1;
  for (int i = 0; i < 256; ++i)
    palette[static_cast<std::size_t>(i)].fill(
        static_cast<std::uint8_t>(parts.indexed ? i : std::min(i, steps) * 255 / steps));
  for (std::size_t i = 0; parts.indexed && i < std::min<std::size_t>(parts.palette.size() / 3, 256); ++i)
    std::copy_n(parts.palette.begin() + static_cast<std::ptrdiff_t>(3 * i), 3, palette[i].begin());
  return palette;
}

int channels_of(int color_type) {
  switch (color_type) {
    case SPNG_COLOR_TYPE_TRUECOLOR:
      return 3;
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
      return 2;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
      return 4;
    default:
      return 1;
  }
}

// Sample x of a row of one channel and at most 8 bits.
unsigned shallow_sample(const std::uint8_t* row, std::size_t x, unsigned depth) {
  const std::size_t bit = x * depth;
  return row[bit / 8] >> (8 - depth - bit % 8) & ((1U << depth) - 1);
}

// A file whose header has been read and found possible.
struct Opened {
  Parts parts;
  Context context;
  spng_ihdr header{};
  const std::string& name;

  Opened(Bytes bytes, const std::string& called)
      : parts(bytes, called), context(spng_ctx_new(0)), name(called) {
    if (!context) throw_error("{}: out of memory", name);
    check(spng_set_png_buffer(context.get(), parts.file.data(), parts.file.size()));
    check(spng_get_ihdr(context.get(), &header));
    // deflate unfolds a byte to at most 1,032.
    const std::int64_t bits = std::int64_t{channels_of(header.color_type)} * header.bit_depth;
    check_image_size(name, "PNG", header.width, header.height,
                     static_cast<std::int64_t>(bytes.size()) * 1032 * 8 / bits);
    if (parts.is_cut_off) throw_error("{}: corrupt PNG: the file ends early", name);
  }

  void check(int error) const {
    if (error) throw_error("{}: corrupt PNG: {}", name, spng_strerror(error));
  }
  bool is_shallow() const { return header.bit_depth <= 8 && channels_of(header.color_type) == 1; }
  void decode(void* to, std::size_t bytes) const {
    check(spng_decode_image(context.get(), to, bytes, SPNG_FMT_PNG, 0));
  }
  // As they stand in the file, 16 bits in host order.
  std::vector<std::uint8_t> samples() const {
    std::size_t size = 0;
    check(spng_decoded_image_size(context.get(), SPNG_FMT_PNG, &size));
    std::vector<std::uint8_t> out(size);
    decode(out.data(), size);
    return out;
  }
};

// One row of samples as they stand in the file (16 bits in host order) to RGB.
class RowConverter {
 public:
  RowConverter(const spng_ihdr& header, const Palette& palette) : header_(header), palette_(palette) {}

  void operator()(std::uint8_t* rgb, const std::uint8_t* row) const {
    const int channels = channels_of(header_.color_type);
    const std::uint32_t width = header_.width;
    if (channels == 1 && header_.bit_depth <= 8) {
      for (std::size_t x = 0; x < width; ++x) {
        const auto& color = palette_[shallow_sample(row, x, header_.bit_depth)];
        std::copy(color.begin(), color.end(), rgb + 3 * x);
      }
      return;
    }
    const int first = 0, second = channels > 2 ? 1 : 0, third = channels > 2 ? 2 : 0;
    for (std::size_t x = 0; x < width; ++x) {
      const std::size_t i = x * static_cast<std::size_t>(channels);
      rgb[3 * x] = sample(row, i + first);
      rgb[3 * x + 1] = sample(row, i + second);
      rgb[3 * x + 2] = sample(row, i + third);
    }
  }

 private:
  std::uint8_t sample(const std::uint8_t* row, std::size_t i) const {
    if (header_.bit_depth == 8) return row[i];
    std::uint16_t value = 0;
    std::memcpy(&value, row + 2 * i, 2);
    // Pillow reads 16-bit grey as 32-bit integers and clips them; everything else it cuts to the high byte.
    if (header_.color_type == SPNG_COLOR_TYPE_GRAYSCALE)
      return static_cast<std::uint8_t>(std::min<std::uint16_t>(value, 255));
    return static_cast<std::uint8_t>(value >> 8);
  }

  const spng_ihdr& header_;
  const Palette& palette_;
};

}  // namespace

bool is_png(Bytes bytes) {
  static constexpr std::array<std::uint8_t, 8> signature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  return bytes.size() >= signature.size() && std::equal(signature.begin(), signature.end(), bytes.begin());
}

Decoded decode_png(Bytes bytes, const std::string& name, std::int64_t /*min_side*/) {
  const Opened file(bytes, name);
  const spng_ihdr& header = file.header;
  Decoded out{Tensor({header.height, header.width, 3}, DType::uint8), exif_orientation(file.parts.exif)};
  auto* rgb = out.pixels.data<std::uint8_t>();
  if (header.color_type == SPNG_COLOR_TYPE_TRUECOLOR && header.bit_depth == 8) {
    file.decode(rgb, out.pixels.bytes());
    return out;
  }
  Palette palette{};
  if (file.is_shallow()) palette = palette_of(file.parts, header.bit_depth);
  const std::vector<std::uint8_t> samples = file.samples();
  const RowConverter convert_row(header, palette);
  const std::size_t stride = samples.size() / header.height;
  for (std::size_t y = 0; y < header.height; ++y)
    convert_row(rgb + y * header.width * 3, samples.data() + y * stride);
  return out;
}

PngSamples decode_png_samples(Bytes bytes, const std::string& name) {
  if (!is_png(bytes)) throw_error("{}: is no PNG; class numbers are read from PNG", name);
  const Opened file(bytes, name);
  const std::size_t height = file.header.height, width = file.header.width, depth = file.header.bit_depth;
  if (file.header.color_type != SPNG_COLOR_TYPE_GRAYSCALE)  // palettes are read as grey
    throw_error("{}: holds colours; class numbers are one channel, grey or of a palette", name);
  PngSamples out{file.header.height, file.header.width, std::vector<std::uint16_t>(height * width)};
  const std::vector<std::uint8_t> samples = file.samples();
  const std::size_t stride = samples.size() / height;
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* row = samples.data() + y * stride;
    std::uint16_t* to = out.values.data() + y * width;
    if (depth == 16)
      std::memcpy(to, row, 2 * width);
    else
      for (std::size_t x = 0; x < width; ++x)
        to[x] = static_cast<std::uint16_t>(shallow_sample(row, x, static_cast<unsigned>(depth)));
  }
  return out;
}

std::vector<std::uint8_t> encode_png(const Tensor& image) {
  check_image("encode_png", image);
  const Context context(spng_ctx_new(SPNG_CTX_ENCODER));
  if (!context) throw_error("encode_png: out of memory");
  const auto check = [](int error) {
    if (error) throw_error("encode_png: {}", spng_strerror(error));
  };
  VITRAL_CHECK(image.dim(0) < (std::int64_t{1} << 31) && image.dim(1) < (std::int64_t{1} << 31),
               "encode_png: {} is larger than PNG holds", image.shape());
  spng_ihdr header{};
  header.width = static_cast<std::uint32_t>(image.dim(1));
  header.height = static_cast<std::uint32_t>(image.dim(0));
  header.bit_depth = 8;
  header.color_type = SPNG_COLOR_TYPE_TRUECOLOR;
  check(spng_set_option(context.get(), SPNG_ENCODE_TO_BUFFER, 1));
  check(spng_set_ihdr(context.get(), &header));
  check(spng_encode_image(context.get(), image.data<std::uint8_t>(), image.bytes(), SPNG_FMT_PNG,
                          SPNG_ENCODE_FINALIZE));
  std::size_t size = 0;
  int error = 0;
  void* data = spng_get_png_buffer(context.get(), &size, &error);
  const std::unique_ptr<void, void (*)(void*)> owner(data, std::free);
  check(error);
  const auto* begin = static_cast<const std::uint8_t*>(data);
  return {begin, begin + size};
}

}  // namespace vitral::data
