#include <algorithm>
#include <cctype>
#include <cmath>

#include "data/images/codec.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

bool is_space(std::uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// A file of netpbm: numbers in words, or packed behind the header.
class Reader {
 public:
  Reader(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  std::uint8_t byte() {
    if (at_ == bytes_.size()) throw_error("{}: corrupt PNM: the file ends early", name_);
    return bytes_[at_++];
  }
  std::size_t left() const { return bytes_.size() - at_; }

  /// The next word of at most `digits` digits and the space behind it; comments from # to the end of the
  /// line.
  std::int64_t number(int digits = 9) {
    skip_space();
    std::int64_t value = 0;
    int count = 0;
    for (; count < digits && at_ < bytes_.size() && std::isdigit(bytes_[at_]); ++count)
      value = 10 * value + (bytes_[at_++] - '0');
    const bool ends = at_ == bytes_.size() || is_space(bytes_[at_]) || bytes_[at_] == '#' || digits == 1;
    if (count == 0 && at_ == bytes_.size()) byte();
    if (count == 0 || !ends) throw_error("{}: corrupt PNM: a number is needed at byte {}", name_, at_);
    return value;
  }

 private:
  void skip_space() {
    for (bool comment = false; at_ < bytes_.size(); ++at_) {
      const std::uint8_t c = bytes_[at_];
      if (comment)
        comment = c != '\n' && c != '\r';
      else if (c == '#')
        comment = true;
      else if (!is_space(c))
        return;
    }
  }

  Bytes bytes_;
  const std::string& name_;
  std::size_t at_ = 2;
};

}  // namespace

bool is_pnm(Bytes bytes) {
  return bytes.size() >= 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '6' &&
         (is_space(bytes[2]) || bytes[2] == '#');
}

// PBM, PGM and PPM, in words (P1 to P3) or packed (P4 to P6).
Decoded decode_pnm(Bytes bytes, const std::string& name, std::int64_t /*min_side*/) {
  Reader reader(bytes, name);
  const bool packed = bytes[1] >= '4';
  const int kind = (bytes[1] - '1') % 3;  // bits, greys, colours
  const std::int64_t width = reader.number(), height = reader.number();
  const std::int64_t top = kind == 0 ? 1 : reader.number();
  if (top < 1 || top > 65535)
    throw_error("{}: corrupt PNM: its largest value is {}, not 1 to 65535", name, top);
  if (packed) reader.byte();  // one space
  // A sample has at least a bit, or a byte.
  const std::int64_t channels = kind == 2 ? 3 : 1;
  check_image_size(name, "PNM", width, height,
                   static_cast<std::int64_t>(reader.left()) * (packed && kind == 0 ? 8 : 1) / channels);

  Decoded out{Tensor({height, width, 3}, DType::uint8)};
  auto* to = out.pixels.data<std::uint8_t>();
  // Pillow makes 16 bits of greys above 8 and clips them when they become colours; colours it scales to 8.
  const double scale = kind == 1 && top > 255 ? 65535 : 255;
  const auto sample = [&] {
    std::int64_t value = 0;
    if (!packed)
      value = reader.number();
    else
      value = top > 255 ? reader.byte() << 8 : 0, value += reader.byte();
    if (!packed && value > top) throw_error("{}: corrupt PNM: a value of {} above {}", name, value, top);
    return static_cast<std::uint8_t>(
        std::min(std::nearbyint(static_cast<double>(value) / static_cast<double>(top) * scale), 255.0));
  };
  for (std::int64_t y = 0; y < height; ++y) {
    std::uint8_t bits = 0;
    for (std::int64_t x = 0; x < width; ++x, to += 3) {
      if (kind == 2) {
        for (int c = 0; c < 3; ++c) to[c] = sample();
        continue;
      }
      if (kind == 1) {
        to[0] = sample();
      } else if (packed) {
        if (x % 8 == 0) bits = reader.byte();
        to[0] = bits >> (7 - x % 8) & 1 ? 0 : 255;
      } else {
        const std::int64_t bit = reader.number(1);
        if (bit > 1) throw_error("{}: corrupt PNM: a bit is {}", name, bit);
        to[0] = bit ? 0 : 255;
      }
      to[1] = to[2] = to[0];
    }
  }
  return out;
}

}  // namespace vitral::data
