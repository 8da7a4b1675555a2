#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <spng.h>

#include "data/images/codec.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

struct FreeContext {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, FreeContext>;

// Text, profiles and the like are not needed; what they may unfold to is bounded.
constexpr std::size_t max_chunk_bytes = std::size_t{64} << 20;

// Colours of the samples 0..255 of an indexed or shallow grey image.
using Palette = std::array<std::array<std::uint8_t, 3>, 256>;

// Pillow's palette begins as a grey ramp, so an index beyond the file's palette is a grey.
Palette palette_of(spng_ctx* context, const spng_ihdr& header, const std::string& name) {
  Palette palette;
  const int steps = (1 << std::min<int>(header.bit_depth, 8)) - 1;
  for (int i = 0; i < 256; ++i) palette[static_cast<std::size_t>(i)].fill(static_cast<std::uint8_t>(i));
  if (header.color_type == SPNG_COLOR_TYPE_GRAYSCALE) {
    for (int i = 0; i <= steps; ++i)
      palette[static_cast<std::size_t>(i)].fill(static_cast<std::uint8_t>(i * 255 / steps));
    return palette;
  }
  spng_plte entries{};
  if (const int error = spng_get_plte(context, &entries))
    throw_error("{}: corrupt PNG: {}", name, spng_strerror(error));
  for (std::uint32_t i = 0; i < std::min<std::uint32_t>(entries.n_entries, 256); ++i)
    palette[i] = {entries.entries[i].red, entries.entries[i].green, entries.entries[i].blue};
  return palette;
}

// One row of samples as they stand in the file (16 bits in host order) to RGB.
class RowConverter {
 public:
  RowConverter(const spng_ihdr& header, const Palette& palette) : header_(header), palette_(palette) {}

  void operator()(std::uint8_t* rgb, const std::uint8_t* row) const {
    const int channels = channels_of(header_.color_type);
    const std::uint32_t width = header_.width;
    if (channels == 1 && header_.bit_depth <= 8) {
      const unsigned depth = header_.bit_depth, mask = (1U << depth) - 1;
      for (std::size_t x = 0; x < width; ++x) {
        const std::size_t bit = x * depth;
        const auto& color = palette_[row[bit / 8] >> (8 - depth - bit % 8) & mask];
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

  static int channels_of(int color_type) {
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

// True when every chunk up to the end mark lies within the bytes: the decoder itself is content with the
// pixels.
bool has_end(std::span<const std::uint8_t> bytes) {
  std::size_t at = 8;
  while (bytes.size() - at >= 12) {
    const std::uint8_t* head = bytes.data() + at;
    const std::size_t length =
        std::size_t{head[0]} << 24 | std::size_t{head[1]} << 16 | std::size_t{head[2]} << 8 | head[3];
    if (length > bytes.size() - at - 12) return false;
    if (std::memcmp(head + 4, "IEND", 4) == 0) return true;
    at += length + 12;
  }
  return false;
}

}  // namespace

bool is_png(std::span<const std::uint8_t> bytes) {
  static constexpr std::array<std::uint8_t, 8> signature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  return bytes.size() >= signature.size() && std::equal(signature.begin(), signature.end(), bytes.begin());
}

Tensor decode_png(std::span<const std::uint8_t> bytes, const std::string& name) {
  const Context context(spng_ctx_new(0));
  if (!context) throw_error("{}: out of memory", name);
  const auto check = [&](int error) {
    if (error) throw_error("{}: corrupt PNG: {}", name, spng_strerror(error));
  };
  spng_ihdr header{};
  check(spng_set_chunk_limits(context.get(), max_chunk_bytes, max_chunk_bytes));
  check(spng_set_png_buffer(context.get(), bytes.data(), bytes.size()));
  check(spng_get_ihdr(context.get(), &header));
  // deflate unfolds a byte to at most 1,032.
  const std::int64_t bits = RowConverter::channels_of(header.color_type) * header.bit_depth;
  check_image_size(name, "PNG", header.width, header.height,
                   static_cast<std::int64_t>(bytes.size()) * 1032 * 8 / bits);

  if (!has_end(bytes)) throw_error("{}: corrupt PNG: the file ends early", name);

  Tensor image({header.height, header.width, 3}, DType::uint8);
  auto* rgb = image.data<std::uint8_t>();
  if (header.color_type == SPNG_COLOR_TYPE_TRUECOLOR && header.bit_depth == 8) {
    check(spng_decode_image(context.get(), rgb, image.bytes(), SPNG_FMT_PNG, 0));
  } else {
    Palette palette{};
    if (header.bit_depth <= 8 && RowConverter::channels_of(header.color_type) == 1)
      palette = palette_of(context.get(), header, name);
    std::size_t size = 0;
    check(spng_decoded_image_size(context.get(), SPNG_FMT_PNG, &size));
    std::vector<std::uint8_t> samples(size);
    check(spng_decode_image(context.get(), samples.data(), size, SPNG_FMT_PNG, 0));
    const RowConverter convert_row(header, palette);
    const std::size_t stride = size / header.height;
    for (std::size_t y = 0; y < header.height; ++y)
      convert_row(rgb + y * header.width * 3, samples.data() + y * stride);
  }
  check(spng_decode_chunks(
      context.get()));  // up to the end mark: a file cut off behind its pixels is truncated, too
  return image;
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
