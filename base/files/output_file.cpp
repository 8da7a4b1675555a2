#include "base/files/output_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files/atomic.h"
#include "base/files/digest.h"
#include "base/files/in_place.h"
#include "base/files/input_file.h"
#include "base/hash.h"

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

std::vector<ByteRange> without(std::vector<ByteRange> ranges, std::uint64_t size) {
  std::sort(ranges.begin(), ranges.end(),
            [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; });
  std::vector<ByteRange> out;
  std::uint64_t at = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin >= size) break;
    if (begin > at) out.push_back({at, begin});
    at = std::max(at, end);
  }
  if (at < size) out.push_back({at, size});
  return out;
}

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

void OutputFile::copy(const std::string& source, const std::vector<ByteRange>& left_out) {
  const auto require = [&](bool done) {
    if (!done)
      throw_error("{}: cannot be copied to {}: {}; check the disk", source, partial_, std::strerror(errno));
  };
  const InputFile from(source);
  const Descriptor shared(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
  if (shared >= 0 && ::ioctl(lock_, FICLONE, static_cast<int>(shared)) == 0) return;
  require(::ftruncate(lock_, 0) == 0 && ::ftruncate(lock_, static_cast<off_t>(from.size())) == 0);
  std::vector<char> buffer(1 << 20);
  const auto ranges = without(left_out, from.size());
  // Reads all ranges piece by piece.
  const auto hash_of_all = [&](const auto& read) {
    Hash hash;
    for (const auto& [begin, end] : ranges)
      for (std::uint64_t at = begin, n = 0; at < end; at += n) {
        n = std::min<std::uint64_t>(buffer.size(), end - at);
        read(at, static_cast<std::size_t>(n));
        hash.add(buffer.data(), static_cast<std::size_t>(n));
      }
    return hash.value();
  };
  const std::uint64_t written = hash_of_all([&](std::uint64_t at, std::size_t n) {
    from.read(at, buffer.data(), n);
    require(write_all_at(lock_, at, buffer.data(), n));
  });
  require(::fsync(lock_) == 0);
  ::posix_fadvise(lock_, 0, 0, POSIX_FADV_DONTNEED);
  const std::uint64_t found = hash_of_all(
      [&](std::uint64_t at, std::size_t n) { require(read_at(lock_, at, buffer.data(), n) == n); });
  if (found != written) not_what_was_written(partial_);
}

void OutputFile::share() { set_lock(lock_, F_RDLCK); }

void OutputFile::commit() {
  if (::fsync(lock_) != 0)
    throw_error("{}: cannot be written to the disk: {}; check the disk", path_, std::strerror(errno));
  if (::rename(partial_.c_str(), path_.c_str()) != 0)
    throw_error("{}: cannot be written: {}; name another file", path_, std::strerror(errno));
  partial_.clear();
  ::unlink(change_of(path_).c_str());  // of the file that was there
  sync_name(path_);
}

}  // namespace vitral
