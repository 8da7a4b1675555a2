#include <cstring>
#include <string_view>

#include "data/images/codec.h"

namespace vitral::data {
namespace {

// Numbers of a TIFF file; 0 beyond the end.
class TiffReader {
 public:
  explicit TiffReader(Bytes bytes) : bytes_(bytes), little_(bytes.size() >= 2 && bytes[0] == 'I') {}

  std::uint32_t number(std::size_t at, std::size_t size) const {
    if (at > bytes_.size() || size > bytes_.size() - at) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) value = value << 8 | bytes_[at + (little_ ? size - 1 - i : i)];
    return value;
  }

 private:
  Bytes bytes_;
  bool little_;
};

}  // namespace

int exif_orientation(Bytes block) {
  constexpr std::string_view prefix("Exif\0\0", 6);
  if (block.size() >= prefix.size() && std::memcmp(block.data(), prefix.data(), prefix.size()) == 0)
    block = block.subspan(prefix.size());
  if (block.size() < 8 || block[0] != block[1] || (block[0] != 'I' && block[0] != 'M')) return 1;
  const TiffReader tiff(block);
  if (tiff.number(2, 2) != 42) return 1;
  const std::size_t directory = tiff.number(4, 4);
  const std::size_t entries = tiff.number(directory, 2);
  constexpr std::uint32_t tag = 274, short_type = 3, long_type = 4;
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > block.size()) return 1;
    if (tiff.number(entry, 2) != tag) continue;
    const std::uint32_t type = tiff.number(entry + 2, 2);
    if ((type != short_type && type != long_type) || tiff.number(entry + 4, 4) != 1) return 1;
    const std::uint32_t value = tiff.number(entry + 8, type == short_type ? 2 : 4);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Tensor upright(const Tensor& image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const std::int64_t height = image.dim(0), width = image.dim(1);
  const bool transposed = orientation >= 5;
  // Where the walk over the result begins in the image, and its steps, in pixels.
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const std::int64_t x_step = from_right ? -1 : 1, y_step = from_below ? -width : width;
  const std::int64_t start = (from_right ? width - 1 : 0) + (from_below ? (height - 1) * width : 0);
  const std::int64_t row_step = transposed ? x_step : y_step, column_step = transposed ? y_step : x_step;
  Tensor out(transposed ? Shape{width, height, 3} : Shape{height, width, 3}, DType::uint8);
  const auto* from = image.data<std::uint8_t>() + 3 * start;
  auto* to = out.data<std::uint8_t>();
  for (std::int64_t y = 0; y < out.dim(0); ++y)
    for (std::int64_t x = 0; x < out.dim(1); ++x, to += 3)
      std::memcpy(to, from + 3 * (y * row_step + x * column_step), 3);
  return out;
}

}  // namespace vitral::data
