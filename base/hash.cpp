#include "base/hash.h"

#include <xxhash.h>

namespace vitral {

std::uint64_t hash_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

void Hash::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

Hash::Hash() : state_(XXH3_createState()) { XXH3_64bits_reset(state_.get()); }

void Hash::add(const void* data, std::size_t bytes) { XXH3_64bits_update(state_.get(), data, bytes); }

std::uint64_t Hash::value() const { return XXH3_64bits_digest(state_.get()); }

}  // namespace vitral
