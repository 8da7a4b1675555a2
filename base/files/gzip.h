// What gzip packs.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace vitral {

/// Whether bytes begin as gzip's do.
bool is_gzip(std::string_view bytes);

/// What is packed in `bytes`, all of its members one after the other. Error naming `where`: damaged, cut off,
/// or more than `limit` bytes.
std::string gunzip(std::string_view bytes, const std::string& where, std::uint64_t limit);

}  // namespace vitral
