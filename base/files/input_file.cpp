#include "base/files/input_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace vitral {

namespace {

[[noreturn]] void cannot_be_read(const std::string& path, int why) {
  if (!is_about_path(why))
    throw_error<ReadError>("{}: cannot be read: {}; nothing is wrong with the path, see to the machine", path,
                           std::strerror(why));
  throw_error<UsageError>("{}: cannot be read: {}; check the path and its permissions", path,
                          std::strerror(why));
}

// Without O_NONBLOCK the open of a FIFO would wait for a writer.
Descriptor open_to_read(const std::string& path) {
  for (;;)
    if (const int number = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        number >= 0 || errno != EINTR)
      return Descriptor(number);
}

}  // namespace

bool is_about_path(int error) {
  constexpr std::array errors{ENOENT, ENOTDIR, EACCES, EPERM, EISDIR, ELOOP, ENAMETOOLONG, ENXIO, ENODEV};
  return std::find(errors.begin(), errors.end(), error) != errors.end();
}

InputFile::InputFile(std::string path) : path_(std::move(path)), descriptor_(open_to_read(path_)) {
  if (descriptor_ < 0 && (errno == ENOENT || errno == ENOTDIR))
    throw_error<UsageError>("{}: no such file", path_);
  struct stat status {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) cannot_be_read(path_, errno);
  if (S_ISDIR(status.st_mode))
    throw_error<UsageError>("{}: is a directory, not a file; give a regular file", path_);
  if (!S_ISREG(status.st_mode)) throw_error<UsageError>("{}: is not a regular file, name one", path_);
  size_ = static_cast<std::uint64_t>(status.st_size);
}

int InputFile::lock_to_read() const { return ::flock(descriptor_, LOCK_SH | LOCK_NB) == 0 ? 0 : errno; }

void InputFile::read(std::uint64_t offset, void* to, std::size_t bytes) const {
  const std::size_t done = read_at(descriptor_, offset, to, bytes);
  if (done == bytes) return;
  if (errno == 0) throw_error("{}: truncated at byte {}; copy it again", path_, offset + done);
  throw_error<ReadError>("{}: cannot be read at byte {}: {}; check the disk", path_, offset + done,
                         std::strerror(errno));
}

void InputFile::prefetch(std::uint64_t offset, std::uint64_t bytes) const {
  ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
}

std::shared_ptr<char> InputFile::map() const {
  VITRAL_CHECK(size_ > 0, "{}: is empty; copy it again", path_);
  const std::uint64_t bytes = size_;
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor_, 0);
  if (data == MAP_FAILED)
    throw_error("{}: cannot be mapped into memory: {}; copy it to another disk", path_, std::strerror(errno));
  return {static_cast<char*>(data), [bytes](char* p) { ::munmap(p, bytes); }};
}

std::filesystem::file_status file_status(const std::string& path) {
  std::error_code why;
  const auto status = std::filesystem::status(path, why);
  if (status.type() == std::filesystem::file_type::none) cannot_be_read(path, why.value());
  return status;
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
