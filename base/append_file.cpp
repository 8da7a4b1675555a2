#include "base/append_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"

namespace vitral {

AppendFile::AppendFile(std::string path, Mode mode) : path_(std::move(path)) {
  const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND | (mode == Mode::create ? O_EXCL : 0);
  file_ = ::open(path_.c_str(), flags, 0666);
  if (file_ < 0) throw_error("{}: cannot be opened for writing: {}", path_, std::strerror(errno));
}

AppendFile::~AppendFile() {
  if (file_ >= 0) ::close(file_);
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}

void AppendFile::write(std::string_view record) {
  const off_t before = ::lseek(file_, 0, SEEK_END);
  while (!record.empty()) {
    const ssize_t written = ::write(file_, record.data(), record.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int why = written < 0 ? errno : ENOSPC;
      // No half record may stay: later ones would be glued to it. Where even this fails, resume repairs it.
      if (before >= 0 && ::ftruncate(file_, before) != 0) errno = why;
      throw_error("{}: cannot be written: {}; make room and resume", path_, std::strerror(why));
    }
    record.remove_prefix(static_cast<std::size_t>(written));
  }
}

void AppendFile::sync() {
  if (::fdatasync(file_) != 0 && errno != EINVAL && errno != EROFS)
    throw_error("{}: cannot be written: {}; make room and resume", path_, std::strerror(errno));
}

}  // namespace vitral
