#include "base/files/append_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files/atomic.h"

namespace vitral {

AppendFile::AppendFile(std::string path, Mode mode)
    : path_(std::move(path)),
      file_(::open(path_.c_str(),
                   O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND | (mode == Mode::create ? O_EXCL : 0), 0666)) {
  if (file_ < 0) throw_error("{}: cannot be opened for writing: {}", path_, std::strerror(errno));
  sync_name(path_);  // its name, which syncing the file does not keep
}

void AppendFile::write(std::string_view record) {
  const off_t before = ::lseek(file_, 0, SEEK_END);
  if (write_all(file_, record.data(), record.size())) return;
  const int why = errno;
  // No half record may stay: later ones would be glued to it. Where even this fails, resume repairs it.
  [[maybe_unused]] const bool cut = before >= 0 && ::ftruncate(file_, before) == 0;
  throw_error("{}: cannot be written: {}; make room and resume", path_, std::strerror(why));
}

void AppendFile::sync() {
  if (::fdatasync(file_) != 0 && errno != EINVAL && errno != EROFS)
    throw_error("{}: cannot be written: {}; make room and resume", path_, std::strerror(errno));
}

}  // namespace vitral
