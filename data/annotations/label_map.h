// What each pixel of one image shows.
#pragma once
#include <cstdint>
#include <vector>

namespace vitral::data {

struct LabelMap {
  static constexpr std::uint16_t none = 0;        // no concept of the file; c + 1 is concept c
  static constexpr std::uint16_t ignore = 65535;  // not known: no measure counts the pixel
  static constexpr std::int64_t most_concepts = ignore - 1;

  std::int64_t height = 0, width = 0;  // 0 x 0: nothing is known of this image
  std::vector<std::uint16_t> labels;   // [height, width]

  bool empty() const { return labels.empty(); }
};

}  // namespace vitral::data
