// Numbers as they stand in files: little-endian.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace vitral {

/// The lowest `bytes` bytes of a number, the lowest first.
inline std::string little_endian(std::uint64_t value, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>((value >> (8 * i)) & 0xFF);
  return text;
}
inline std::string le16(std::uint64_t value) { return little_endian(value, 2); }
inline std::string le32(std::uint64_t value) { return little_endian(value, 4); }
inline std::string le64(std::uint64_t value) { return little_endian(value, 8); }

}  // namespace vitral
