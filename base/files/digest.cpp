#include "base/files/digest.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include <fcntl.h>

#include "base/files/input_file.h"
#include "base/hash.h"

namespace vitral {
namespace {

constexpr std::size_t piece = 1 << 20;  // bytes read at once

}  // namespace

FileDigest digest_of(const std::string& path) {
  const InputFile file(path);
  Hash hash;
  std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), piece)));
  std::uint64_t offset = 0;
  while (offset < file.size()) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), file.size() - offset));
    file.read(offset, buffer.data(), n);
    hash.add(buffer.data(), n);
    offset += n;
  }
  return {file.size(), hash.value()};
}

void read_back(int descriptor, const FileDigest& written, const std::string& path) {
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  FileDigest found;
  Hash hash;
  std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(written.bytes + 1, piece)));
  for (std::size_t n = buffer.size(); n == buffer.size(); found.bytes += n) {
    n = read_at(descriptor, found.bytes, buffer.data(), buffer.size());
    if (n < buffer.size() && errno != 0)
      throw_error("{}: cannot write: reading it back: {}; check the disk", path, std::strerror(errno));
    hash.add(buffer.data(), n);
  }
  found.xxh3 = hash.value();
  if (found != written) not_what_was_written(path);
}

void not_what_was_written(const std::string& path, const std::string& of) {
  throw_error("{}: cannot write: what was read back{} is not what was written; check the disk", path,
              of.empty() ? "" : " of " + of);
}

}  // namespace vitral
