#include "base/files/atomic.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace vitral {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view temporary_prefix = ".tmp-";

[[noreturn]] void fail(const std::string& path, int error) {
  const char* advice = "check the disk";
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) advice = "free some space and run it again";
  if (error == EACCES || error == EPERM || error == EROFS) advice = "choose a folder you may write to";
  if (error == ENOENT || error == ENOTDIR) advice = "create the folder first";
  if (error == EMFILE || error == ENFILE) advice = "allow more open files (ulimit -n)";
  if (error == EISDIR) advice = "choose the name of a file";
  throw_error("{}: cannot write: {}; {}", path, std::strerror(error), advice);
}

std::string folder_of(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

std::string stable_name(const std::string& path) {
  return fmt::format("{}/{}{}", folder_of(path), temporary_prefix, fs::path(path).filename().string());
}

// Unique in this process and among those that run; on the same file system as `path`, so that rename works.
std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  return fmt::format("{}-{}-{}", stable_name(path), ::getpid(), counter++);
}

// A new file of this name, or the one that a killed process left: a regular one without another name that
// nobody writes to. None where there is neither.
Descriptor take_over(const std::string& name) {
  constexpr int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW;
  Descriptor fresh(::open(name.c_str(), flags | O_CREAT | O_EXCL, 0666));
  // Another process may take a new file for a left one before this one has locked it.
  if (fresh >= 0)
    return ::flock(fresh, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK ? std::move(fresh) : Descriptor();
  Descriptor left(::open(name.c_str(), flags));
  struct stat opened {
  }, named{};
  const bool ours = left >= 0 && ::flock(left, LOCK_EX | LOCK_NB) == 0 && ::fstat(left, &opened) == 0 &&
                    ::lstat(name.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
                    opened.st_dev == named.st_dev && S_ISREG(opened.st_mode) && opened.st_nlink == 1 &&
                    ::ftruncate(left, 0) == 0;
  return ours ? std::move(left) : Descriptor();
}

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

void sync_names_in(const std::string& folder, const std::string& named) {
  Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor < 0) fail(named, errno);
  // Some file systems cannot sync a folder and say EINVAL; their renames are durable by other means.
  const bool synced = ::fsync(descriptor) == 0 || errno == EINVAL;
  if (!synced || !descriptor.close()) fail(named, errno);
}

}  // namespace

void sync_folder(const std::string& folder) { sync_names_in(folder, folder); }

void sync_name(const std::string& path) { sync_names_in(folder_of(path), path); }

void create_folders(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> missing;
  fs::path path = fs::absolute(folder, error).lexically_normal();
  for (; !error && path.has_relative_path() && !fs::exists(path, error); path = path.parent_path())
    if (path.has_filename()) missing.push_back(path);
  error.clear();
  fs::create_directories(folder, error);
  if (error) throw_error("{}: cannot create the folder: {}; choose another place", folder, error.message());
  for (const auto& made : missing) sync_folder(made.parent_path().string());
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path_, ignored);
  // A rename over a device such as /dev/null would replace it.
  VITRAL_CHECK(!fs::exists(status) || fs::is_regular_file(status),
               "{}: cannot write: this is {}; choose the name of a file", path_,
               fs::is_directory(status) ? "a directory" : "not a regular file");
  // What a link points to is replaced, not the link.
  const std::string target =
      fs::is_symlink(path_, ignored) ? fs::weakly_canonical(path_, ignored).string() : path_;
  if (!target.empty()) path_ = target;
  temporary_ = stable_name(path_);
  descriptor_ = take_over(temporary_);
  if (descriptor_ < 0) {
    temporary_ = temporary_name(path_);
    descriptor_ = Descriptor(::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  }
  if (descriptor_ < 0) fail(path_, errno);
  lock_ = Descriptor(::fcntl(descriptor_, F_DUPFD_CLOEXEC, 0));
  keep_mode(descriptor_, path_);
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  hash_.add(data, bytes);
  bytes_ += bytes;
  if (!write_all(descriptor_, data, bytes)) fail(path_, errno);
}

FileDigest AtomicFile::commit() {
  const FileDigest written{bytes_, hash_.value()};
  if (::fsync(descriptor_) != 0) fail(path_, errno);
  read_back(descriptor_, written, path_);
  if (!descriptor_.close()) fail(path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, errno);
  temporary_.clear();
  // AtomicDirectory::commit() syncs its own.
  if (!is_temporary_name(fs::path(folder_of(path_)).filename().string())) sync_name(path_);
  return written;
}

FileDigest write_file_atomic(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  return file.commit();
}

void write_file(const std::string& path, std::string_view bytes) {
  std::error_code ignored;
  const auto status = fs::status(path, ignored);
  if (!fs::exists(status) || fs::is_regular_file(status) || fs::is_directory(status)) {
    write_file_atomic(path, bytes);
    return;
  }
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file < 0 || !write_all(file, bytes.data(), bytes.size()) || !file.close())
    throw_error("{}: cannot write: {}; choose another name", path, std::strerror(errno));
}

AtomicDirectory::AtomicDirectory(std::string path)
    : path_(without_trailing_slash(std::move(path))), temporary_(temporary_name(path_)) {
  if (::mkdir(temporary_.c_str(), 0777) != 0) fail(path_, errno);
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::commit() {
  sync_folder(temporary_);
  if (::rename(temporary_.c_str(), path_.c_str()) == 0) {
    temporary_.clear();
  } else if (errno != ENOTEMPTY && errno != EEXIST) {
    fail(path_, errno);
  } else if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) != 0) {
    if (errno != EINVAL && errno != ENOSYS) fail(path_, errno);
    // A file system that cannot exchange two names: for a moment the name is free.
    const std::string old = temporary_name(path_);
    if (::rename(path_.c_str(), old.c_str()) != 0) fail(path_, errno);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
      const int error_number = errno;
      ::rename(old.c_str(), path_.c_str());
      fail(path_, error_number);
    }
    temporary_ = old;
  }
  // After an exchange `temporary_` is the old folder, which the destructor removes.
  sync_name(path_);
}

bool remove_folder_atomic(const std::string& path) {
  const std::string temporary = temporary_name(without_trailing_slash(path));
  if (::rename(path.c_str(), temporary.c_str()) != 0) return false;
  std::error_code error;
  fs::remove_all(temporary, error);
  return !error;
}

bool is_temporary_name(std::string_view name) { return name.starts_with(temporary_prefix); }

void remove_temporaries(const std::string& folder) {
  std::error_code ignored;
  std::vector<fs::path> leftovers;
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored))
    if (is_temporary_name(entry->path().filename().string())) leftovers.push_back(entry->path());
  for (const auto& path : leftovers) fs::remove_all(path, ignored);
}

}  // namespace vitral
