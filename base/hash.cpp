#include "base/hash.h"

#include <algorithm>
#include <vector>

#include <xxhash.h>

#include "base/input_file.h"

namespace vitral {

std::uint64_t hash_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

void Hash::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

Hash::Hash() : state_(XXH3_createState()) { XXH3_64bits_reset(state_.get()); }

void Hash::add(const void* data, std::size_t bytes) { XXH3_64bits_update(state_.get(), data, bytes); }

std::uint64_t Hash::value() const { return XXH3_64bits_digest(state_.get()); }

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
