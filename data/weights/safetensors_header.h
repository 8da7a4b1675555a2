// The JSON header of a safetensors file, parsed event by event: memory stays in proportion to what a valid
// header holds, and a repeated name is seen. Used by data/weights/safetensors.cpp only.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vitral::data {

struct TensorEntry {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> offsets;  // begin and end in bytes, from the start of the data
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // in the order of the header
  std::map<std::string, std::string> metadata;
};

/// Throws Error with `path` in front. Names are unique, every entry has its three keys once; what they say is
/// not yet checked.
SafetensorsHeader parse_safetensors_header(const std::string& path, std::string_view text);

/// The header of these entries, padded with spaces so that the data starts at a multiple of 64. Throws
/// UsageError, with `path` in front, for text that is not UTF-8.
std::string format_safetensors_header(const std::string& path, const SafetensorsHeader& header);

}  // namespace vitral::data
