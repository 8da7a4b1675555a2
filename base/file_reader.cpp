#include "base/file_reader.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace vitral {

FileReader::FileReader(std::string path) : path_(std::move(path)) {
  // Without O_NONBLOCK the open of a FIFO would wait for a writer.
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0 && (errno == ENOENT || errno == ENOTDIR)) throw_error<UsageError>("{}: no such file", path_);
  if (fd_ < 0)
    throw_error<UsageError>("{}: cannot be read: {}; check the path and its permissions", path_,
                            std::strerror(errno));
  struct stat info {};
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(std::exchange(fd_, -1));
    throw_error<UsageError>("{}: is not a regular file, name one", path_);
  }
  size_ = static_cast<std::uint64_t>(info.st_size);
}

FileReader::~FileReader() {
  if (fd_ >= 0) ::close(fd_);
}

bool FileReader::locked() const {
  if (::flock(fd_, LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  ::flock(fd_, LOCK_UN);
  return false;
}

void FileReader::read(std::uint64_t offset, void* to, std::size_t length) const {
  auto* bytes = static_cast<char*>(to);
  while (length > 0) {
    const ssize_t n = ::pread(fd_, bytes, length, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_error("{}: cannot be read at byte {}: {}", path_, offset, std::strerror(errno));
    if (n == 0) throw_error("{}: ends at byte {}, it was truncated; write it again", path_, offset);
    bytes += n;
    offset += static_cast<std::uint64_t>(n);
    length -= static_cast<std::size_t>(n);
  }
}

}  // namespace vitral
