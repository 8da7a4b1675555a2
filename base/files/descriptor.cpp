#include "base/files/descriptor.h"

#include <cerrno>

#include <sys/stat.h>
#include <unistd.h>

namespace vitral {

bool Descriptor::close() { return number_ < 0 || ::close(std::exchange(number_, -1)) == 0; }

bool write_all(int descriptor, const void* data, std::size_t bytes) {
  const auto* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(descriptor, next, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = ENOSPC;
    if (n <= 0) return false;
    next += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

void keep_mode(int descriptor, const std::string& path) {
  struct stat old {};
  if (::stat(path.c_str(), &old) == 0) ::fchmod(descriptor, old.st_mode & 07777);
}

std::size_t read_at(int descriptor, std::uint64_t offset, void* to, std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t n =
        ::pread(descriptor, static_cast<char*>(to) + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = 0;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

}  // namespace vitral
