// What tells that a file is the one that was written.
#pragma once
#include <cstdint>
#include <string>

namespace vitral {

/// Size and hash of a file's bytes.
struct FileDigest {
  std::uint64_t bytes = 0;
  std::uint64_t xxh3 = 0;
  bool operator==(const FileDigest&) const = default;
};

/// Reads a file once. Throws as InputFile does.
FileDigest digest_of(const std::string& path);

}  // namespace vitral
