// Damaged bytes, for readers that must refuse them and never crash.
#pragma once
#include <string>
#include <string_view>

#include "base/random.h"

namespace vitral::test {

/// A few edits: a byte replaced by any or by one of `alphabet` (what the format is made of), bytes cut out,
/// bytes of another place put in.
inline std::string mutated(std::string bytes, std::string_view alphabet, Random& random) {
  for (auto edits = 1 + random.below(4); edits > 0 && !bytes.empty(); --edits) {
    const std::size_t at = random.below(bytes.size());
    switch (random.below(4)) {
      case 0:
        bytes[at] = static_cast<char>(random.next());
        break;
      case 1:
        bytes[at] = alphabet[random.below(alphabet.size())];
        break;
      case 2:
        bytes.erase(at, 1 + random.below(9));
        break;
      default:
        bytes.insert(at, bytes.substr(random.below(bytes.size()), random.below(12)));
    }
  }
  return bytes;
}

}  // namespace vitral::test
