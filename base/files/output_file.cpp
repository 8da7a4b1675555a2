#include "base/files/output_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files/atomic.h"

namespace vitral {
namespace {

namespace fs = std::filesystem;

// What renaming to `path` would replace: the file behind a link, and never a folder or a device.
std::string target(const std::string& path) {
  std::error_code ignored;
  const auto status = fs::status(path, ignored);
  if (fs::is_directory(status)) throw_error<UsageError>("{}: is a directory, name a file", path);
  if (fs::exists(status) && !fs::is_regular_file(status))
    throw_error<UsageError>("{}: is not a regular file, name one", path);
  fs::path to = path;  // links may point to what is not there yet
  for (int links = 0; links < 40 && fs::is_symlink(fs::symlink_status(to, ignored)); ++links)
    to = to.parent_path() / fs::read_symlink(to, ignored);
  return to.string();
}

// False where another process has the lock; a file system without locks goes on without. Not flock(): that is
// what the HDF5 library does itself, whose lock of the same file would be refused.
bool set_lock(int descriptor, short type) {
  struct flock whole {};
  whole.l_type = type;
  whole.l_whence = SEEK_SET;
  return ::fcntl(descriptor, F_OFD_SETLK, &whole) == 0 || (errno != EAGAIN && errno != EACCES);
}

}  // namespace

OutputFile::OutputFile(const std::string& path) : path_(target(path)), partial_(path_ + ".partial") {
  // The name may have gone to another file before the lock came: to the complete one, or to nothing.
  for (;;) {
    lock();
    struct stat locked {
    }, named{};
    if (::fstat(lock_, &locked) == 0 && ::stat(partial_.c_str(), &named) == 0 &&
        locked.st_dev == named.st_dev && locked.st_ino == named.st_ino)
      break;
  }
  keep_mode(lock_, path_);
}

void OutputFile::lock() {
  lock_ = Descriptor(::open(partial_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0666));
  const int why = errno;
  // A link that somebody put there would lead the writer to another file.
  struct stat there {};
  const bool odd = lock_ < 0 ? ::lstat(partial_.c_str(), &there) == 0 && S_ISLNK(there.st_mode)
                             : ::fstat(lock_, &there) == 0 && (!S_ISREG(there.st_mode) || there.st_nlink > 1);
  if (odd) throw_error<UsageError>("{}: is a link, or no regular file; remove it", partial_);
  if (lock_ < 0)
    throw_error<UsageError>("{}: cannot be created: {}; check that the folder exists and may be written",
                            path_, std::strerror(why));
  if (set_lock(lock_, F_WRLCK)) return;
  throw_error<UsageError>("{}: is being written by another process; wait for it, or name another file",
                          path_);
}

OutputFile::~OutputFile() {
  if (!partial_.empty()) ::unlink(partial_.c_str());  // before the lock goes
}

void OutputFile::copy(const std::string& source) {
  const Descriptor from(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
  bool done = from >= 0 && ::ioctl(lock_, FICLONE, static_cast<int>(from)) == 0;
  if (!done && from >= 0) {
    done = ::ftruncate(lock_, 0) == 0 && ::lseek(lock_, 0, SEEK_SET) == 0;
    ssize_t copied = 1;
    while (done && (copied = ::sendfile(lock_, from, nullptr, std::size_t{1} << 30)) > 0) {
    }
    done = done && copied == 0;
  }
  if (!done)
    throw_error("{}: cannot be copied to {}: {}; check the disk", source, partial_, std::strerror(errno));
}

void OutputFile::share() { set_lock(lock_, F_RDLCK); }

void OutputFile::commit() {
  if (::fsync(lock_) != 0)
    throw_error("{}: cannot be written to the disk: {}; check the disk", path_, std::strerror(errno));
  if (::rename(partial_.c_str(), path_.c_str()) != 0)
    throw_error("{}: cannot be written: {}; name another file", path_, std::strerror(errno));
  partial_.clear();
  sync_name(path_);
}

}  // namespace vitral
