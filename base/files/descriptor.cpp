#include "base/files/descriptor.h"

#include <cerrno>

#include <sys/stat.h>
#include <unistd.h>

namespace vitral {

namespace {

// `write` is given what is left, and where that comes in the whole.
template <class Write>
bool write_pieces(const void* data, std::size_t bytes, const Write& write) {
  const auto* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = write(next, bytes, next - static_cast<const char*>(data));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = ENOSPC;
    if (n <= 0) return false;
    next += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

bool Descriptor::close() { return number_ < 0 || ::close(std::exchange(number_, -1)) == 0; }

bool write_all(int descriptor, const void* data, std::size_t bytes) {
  return write_pieces(data, bytes,
                      [&](const char* from, std::size_t n, off_t) { return ::write(descriptor, from, n); });
}

bool write_all_at(int descriptor, std::uint64_t offset, const void* data, std::size_t bytes) {
  return write_pieces(data, bytes, [&](const char* from, std::size_t n, off_t done) {
    return ::pwrite(descriptor, from, n, static_cast<off_t>(offset) + done);
  });
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
