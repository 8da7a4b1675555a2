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

/// Reads a file back that was written and synced, open for reading: the disk answers, not the memory that
/// still has it, where the system can drop that. Error "PATH: cannot write: what was read back is not what
/// was written; check the disk", or why it cannot be read.
void read_back(int descriptor, const FileDigest& written, const std::string& path);
/// What read_back() throws. of: what in the file, such as a dataset.
[[noreturn]] void not_what_was_written(const std::string& path, const std::string& of = "");

}  // namespace vitral
