#include "base/files/digest.h"

#include <algorithm>
#include <vector>

#include "base/files/input_file.h"
#include "base/hash.h"

namespace vitral {

FileDigest digest_of(const std::string& path) {
  const InputFile file(path);
  Hash hash;
  std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 1 << 20)));
  std::uint64_t offset = 0;
  while (offset < file.size()) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), file.size() - offset));
    file.read(offset, buffer.data(), n);
    hash.add(buffer.data(), n);
    offset += n;
  }
  return {file.size(), hash.value()};
}

}  // namespace vitral
