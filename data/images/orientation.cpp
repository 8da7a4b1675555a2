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

Turning turning_of(int orientation) {
  const int o = orientation;
  return {o == 2 || o == 3 || o == 7 || o == 8, o == 3 || o == 4 || o == 6 || o == 7, o >= 5 && o <= 8};
}

namespace {

template <std::size_t bytes>  // of an element
void turn(const void* from, void* to, std::int64_t height, std::int64_t width, const Turning& turning) {
  // Where the walk over the result begins in the image, and its steps, in elements.
  const std::int64_t x_step = turning.mirrors_x ? -1 : 1, y_step = turning.mirrors_y ? -width : width;
  const std::int64_t start =
      (turning.mirrors_x ? width - 1 : 0) + (turning.mirrors_y ? (height - 1) * width : 0);
  const std::int64_t row_step = turning.transposes ? x_step : y_step,
                     column_step = turning.transposes ? y_step : x_step;
  const auto* source = static_cast<const char*>(from);
  auto* target = static_cast<char*>(to);
  const std::int64_t rows = turning.transposes ? width : height, columns = height * width / rows;
  for (std::int64_t y = 0; y < rows; ++y)
    for (std::int64_t x = 0; x < columns; ++x, target += bytes)
      std::memcpy(target,
                  source + static_cast<std::int64_t>(bytes) * (start + y * row_step + x * column_step),
                  bytes);
}

}  // namespace

Tensor upright(const Tensor& image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const std::int64_t height = image.dim(0), width = image.dim(1);
  const Turning turning = turning_of(orientation);
  Tensor out(turning.transposes ? Shape{width, height, 3} : Shape{height, width, 3}, DType::uint8);
  turn<3>(image.raw(), out.raw(), height, width, turning);
  return out;
}

std::vector<std::uint16_t> upright(const std::vector<std::uint16_t>& values, std::int64_t height,
                                   std::int64_t width, int orientation) {
  std::vector<std::uint16_t> out(values.size());
  if (!out.empty()) turn<2>(values.data(), out.data(), height, width, turning_of(orientation));
  return out;
}

}  // namespace vitral::data
