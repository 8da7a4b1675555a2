#include "base/input_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace vitral {

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // Without O_NONBLOCK the open of a FIFO would wait for a writer.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR)
      throw_error<UsageError>("{}: no such file; check the path", path_);
    throw_error("{}: cannot read: {}; check the file's permissions", path_, std::strerror(error));
  }
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(std::exchange(descriptor_, -1));
    throw_error<UsageError>(
        "{}: {}; give a regular file", path_,
        known && S_ISDIR(status.st_mode) ? "is a directory, not a file" : "is not a file");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(std::uint64_t offset, void* to, std::size_t bytes) const {
  auto* next = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t n = ::pread(descriptor_, next, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_error("{}: cannot read: {}; check the disk", path_, std::strerror(errno));
    if (n == 0) throw_error("{}: truncated at byte {}; copy it again", path_, offset);
    next += n;
    offset += static_cast<std::uint64_t>(n);
    bytes -= static_cast<std::size_t>(n);
  }
}

std::shared_ptr<char> InputFile::map() const {
  VITRAL_CHECK(size_ > 0, "{}: is empty; copy it again", path_);
  const std::uint64_t bytes = size_;
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor_, 0);
  if (data == MAP_FAILED)
    throw_error("{}: cannot be mapped into memory: {}; copy it to another disk", path_, std::strerror(errno));
  return {static_cast<char*>(data), [bytes](char* p) { ::munmap(p, bytes); }};
}

std::string read_text_file(const std::string& path, std::uint64_t limit) {
  const InputFile file(path);
  if (file.size() > limit)
    throw_error("{}: {} bytes, at most {} are expected; the file is damaged or of another kind", path,
                file.size(), limit);
  std::string text(file.size(), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

}  // namespace vitral
