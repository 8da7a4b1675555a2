#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "data/images/codec.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

enum Compression : std::uint32_t { none, rle8, rle4, bitfields };

std::uint32_t number_at(Bytes bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < size && at + i < bytes.size(); ++i)
    value |= std::uint32_t{bytes[at + i]} << (8 * i);
  return value;
}

// What stands before the pixels.
struct Header {
  std::int64_t width = 0, height = 0;
  bool top_down = false;
  std::uint32_t bits = 0, compression = none;
  std::array<std::uint32_t, 3> masks{};                    // of 16 and 32 bits: red, green, blue
  std::array<std::array<std::uint8_t, 3>, 256> palette{};  // of fewer
  std::size_t pixels = 0;                                  // where they begin

  Header(Bytes file, const std::string& name) {
    const std::uint32_t size = number_at(file, 14, 4);
    const bool old = size == 12;  // OS/2
    width = number_at(file, 18, old ? 2 : 4);
    height = static_cast<std::int32_t>(number_at(file, old ? 20 : 22, old ? 2 : 4));
    top_down = height < 0;
    height = top_down ? -height : height;
    bits = number_at(file, old ? 24 : 28, 2);
    compression = old ? none : number_at(file, 30, 4);
    std::size_t behind = 14 + std::size_t{size};
    const bool fits = compression == none   ? bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits >= 24
                      : compression == rle8 ? bits == 8
                      : compression == rle4 ? bits == 4
                                            : compression == bitfields && (bits == 16 || bits == 32);
    if (!fits || bits > 32 || (bits > 24 && bits < 32))
      throw_error("{}: a BMP of {} bits and compression {} is not read; store it as PNG", name, bits,
                  compression);
    masks = bits == 16 ? std::array<std::uint32_t, 3>{0x7C00, 0x3E0, 0x1F}
                       : std::array<std::uint32_t, 3>{0xFF0000, 0xFF00, 0xFF};
    if (compression == bitfields) {
      // Behind a header of 40 bytes, within longer ones: at the same place.
      for (std::size_t i = 0; i < 3; ++i) masks[i] = number_at(file, 54 + 4 * i, 4);
      if (size == 40) behind += 12;
      if (masks[0] == 0 || masks[1] == 0 || masks[2] == 0)
        throw_error("{}: corrupt BMP: it names no bits for a colour", name);
    }
    pixels = number_at(file, 10, 4);
    if (bits <= 8) read_palette(file, behind, old ? 3 : 4, old ? 0 : number_at(file, 46, 4));
    if (pixels < behind) pixels = behind;
  }

  // Colours beyond its end are black.
  void read_palette(Bytes file, std::size_t at, std::size_t entry, std::uint32_t count) {
    if (count == 0 || count > 256) count = 1U << bits;
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t c = 0; c < 3; ++c)
        palette[i][c] = static_cast<std::uint8_t>(number_at(file, at + entry * i + 2 - c, 1));
  }
};

// Numbers of colours, row by row from the first one stored. Runs do not go beyond their row.
std::vector<std::uint8_t> unfold(const Header& header, Bytes from, const std::string& name) {
  const auto width = static_cast<std::size_t>(header.width);
  const std::size_t size = width * static_cast<std::size_t>(header.height);
  std::vector<std::uint8_t> out(size);
  const bool four = header.compression == rle4;
  std::size_t at = 0, to = 0;
  const auto byte = [&]() -> std::uint8_t {
    if (at == from.size()) throw_error("{}: corrupt BMP: the file ends early", name);
    return from[at++];
  };
  while (to < size) {
    const std::size_t count = byte();
    const std::uint8_t value = byte();
    const std::size_t row_left =
        to % width == 0 && to > 0 && count == 0 && value == 0 ? 0 : width - to % width;
    if (count > 0) {
      for (std::size_t i = 0; i < std::min(count, row_left); ++i)
        out[to + i] = four ? (i % 2 == 0 ? value >> 4 : value & 15) : value;
      to += std::min(count, row_left);
    } else if (value == 0) {
      to += row_left;
    } else if (value == 1) {
      break;
    } else if (value == 2) {
      const std::size_t right = byte();
      to += right + byte() * width;
    } else {
      std::uint8_t pair = 0;
      for (std::size_t i = 0; i < value; ++i) {
        if (!four || i % 2 == 0) pair = byte();
        const std::uint8_t number = !four ? pair : i % 2 == 0 ? pair >> 4 : pair & 15;
        if (to < size) out[to++] = number;
      }
      if (at % 2 != 0 && at < from.size()) ++at;
    }
  }
  return out;
}

}  // namespace

bool is_bmp(Bytes bytes) {
  static constexpr std::array<std::uint32_t, 7> sizes{12, 40, 52, 56, 64, 108, 124};
  return holds(bytes, 0, "BM") && bytes.size() >= 26 &&
         std::find(sizes.begin(), sizes.end(), number_at(bytes, 14, 4)) != sizes.end();
}

Decoded decode_bmp(Bytes bytes, const std::string& name, std::int64_t /*min_side*/) {
  const Header header(bytes, name);
  const std::int64_t width = header.width, height = header.height;
  const bool runs = header.compression == rle8 || header.compression == rle4;
  const std::int64_t stride = (width * (runs ? 8 : header.bits) + 31) / 32 * 4;
  const auto stored = static_cast<std::int64_t>(bytes.size() - std::min(header.pixels, bytes.size()));
  // Two bytes of a run make at most 255 pixels, but rows may end early.
  check_image_size(name, "BMP", width, height,
                   runs ? std::max<std::int64_t>(1 << 20, stored * 2048) : stored * 8 / header.bits);
  Bytes rows = bytes.subspan(std::min(header.pixels, bytes.size()));
  const std::vector<std::uint8_t> unfolded = runs ? unfold(header, rows, name) : std::vector<std::uint8_t>{};
  if (runs) rows = unfolded;
  const std::int64_t step = runs ? width : stride;
  // The padding of the last row may be missing.
  const std::int64_t needed = step * (height - 1) + (runs ? width : (width * header.bits + 7) / 8);
  if (static_cast<std::int64_t>(rows.size()) < needed)
    throw_error("{}: corrupt BMP: the file ends early", name);

  Decoded out{Tensor({height, width, 3}, DType::uint8)};
  for (std::int64_t y = 0; y < height; ++y) {
    const auto* row = rows.data() + (header.top_down ? y : height - 1 - y) * step;
    auto* to = out.pixels.data<std::uint8_t>() + y * width * 3;
    for (std::int64_t x = 0; x < width; ++x, to += 3) {
      if (header.bits == 24) {
        to[0] = row[3 * x + 2], to[1] = row[3 * x + 1], to[2] = row[3 * x];
      } else if (header.bits > 8) {
        const std::size_t size = header.bits / 8;
        const std::uint32_t pixel = number_at({row + x * static_cast<std::int64_t>(size), size}, 0, size);
        for (std::size_t c = 0; c < 3; ++c) {
          const std::uint64_t mask = header.masks[c], top = mask >> std::countr_zero(mask);
          to[c] = static_cast<std::uint8_t>(((pixel & mask) >> std::countr_zero(mask)) * 255 / top);
        }
      } else {
        const std::int64_t bits = runs ? 8 : header.bits, bit = x * bits;
        const unsigned number = row[bit / 8] >> (8 - bits - bit % 8) & ((1U << bits) - 1);
        std::copy_n(header.palette[number].begin(), 3, to);
      }
    }
  }
  return out;
}

}  // namespace vitral::data
