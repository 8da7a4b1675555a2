#include "base/protobuf.h"

#include <bit>

#include "base/bytes.h"

namespace vitral::protobuf {
std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
  return bytes += static_cast<char>(value);
}

std::string tag(unsigned number, Wire wire) { return varint((number << 3) | static_cast<unsigned>(wire)); }

std::string field(unsigned number, std::string_view bytes) {
  return tag(number, Wire::bytes).append(varint(bytes.size())).append(bytes);
}
std::string field(unsigned number, std::int64_t value) {
  return tag(number, Wire::varint) + varint(static_cast<std::uint64_t>(value));
}
std::string field(unsigned number, double value) {
  return tag(number, Wire::fixed64) + le64(std::bit_cast<std::uint64_t>(value));
}
std::string field(unsigned number, float value) {
  return tag(number, Wire::fixed32) + le32(std::bit_cast<std::uint32_t>(value));
}

std::optional<Field> Reader::next() {
  if (rest_.empty() || damaged_) return {};
  damaged_ = true;  // until the field is whole
  const auto key = read_varint();
  if (!key || *key >> 3 == 0 || *key >> 32 != 0) return {};
  Field out{.number = static_cast<unsigned>(*key >> 3), .wire = static_cast<Wire>(*key & 7)};
  std::optional<std::uint64_t> value;
  switch (out.wire) {
    case Wire::varint:
    case Wire::bytes:
      value = read_varint();
      break;
    case Wire::fixed64:
      value = read_fixed(8);
      break;
    case Wire::fixed32:
      value = read_fixed(4);
      break;
  }
  if (!value) return {};
  out.value = *value;
  if (out.wire == Wire::bytes) {
    if (*value > rest_.size()) return {};
    out.bytes = rest_.substr(0, *value);
    rest_.remove_prefix(*value);
  }
  damaged_ = false;
  return out;
}

std::optional<std::uint64_t> Reader::read_varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value;
  }
  return {};
}

std::optional<std::uint64_t> Reader::read_fixed(std::size_t bytes) {
  if (rest_.size() < bytes) return {};
  std::uint64_t value = 0;
  for (std::size_t i = bytes; i > 0; --i) value = value << 8 | static_cast<unsigned char>(rest_[i - 1]);
  rest_.remove_prefix(bytes);
  return value;
}

}  // namespace vitral::protobuf
