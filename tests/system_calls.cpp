#include "tests/system_calls.h"

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <mutex>

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace {

struct Plan {
  std::string call, part;
  int error = 0, k = -1, count = 0;
  bool lasting = false;
};
std::atomic<bool> active = false;
std::mutex mutex;
Plan plan;

// True, with errno, where this call is to fail.
bool fails(const char* call, const std::string& path) {
  const std::lock_guard lock(mutex);
  if (plan.call != call || path.find(plan.part) == std::string::npos) return false;
  const int number = plan.count++;
  if (plan.k < 0 || number < plan.k || (number > plan.k && !plan.lasting)) return false;
  errno = plan.error;
  return true;
}

bool fails(const char* call, int descriptor) {
  if (!active) return false;
  char path[4096];
  const ssize_t n = ::readlink(fmt::format("/proc/self/fd/{}", descriptor).c_str(), path, sizeof path);
  return n > 0 && fails(call, std::string(path, static_cast<std::size_t>(n)));
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// Under the names of the C library, both those of large files and not: on 64 bits they are the same.
#define VITRAL_NAMED(name) __asm__(name)
extern "C" {
int own_open(const char*, int, ...) VITRAL_NAMED("open");
int own_open64(const char*, int, ...) VITRAL_NAMED("open64");
int own_mkdir(const char*, mode_t) VITRAL_NAMED("mkdir");
int own_rename(const char*, const char*) VITRAL_NAMED("rename");
int own_renameat2(int, const char*, int, const char*, unsigned) VITRAL_NAMED("renameat2");
int own_fsync(int) VITRAL_NAMED("fsync");
int own_close(int) VITRAL_NAMED("close");
ssize_t own_read(int, void*, size_t) VITRAL_NAMED("read");
ssize_t own_write(int, const void*, size_t) VITRAL_NAMED("write");
ssize_t own_pread(int, void*, size_t, off_t) VITRAL_NAMED("pread");
ssize_t own_pread64(int, void*, size_t, off_t) VITRAL_NAMED("pread64");
ssize_t own_pwrite(int, const void*, size_t, off_t) VITRAL_NAMED("pwrite");
ssize_t own_pwrite64(int, const void*, size_t, off_t) VITRAL_NAMED("pwrite64");

int own_open(const char* path, int flags, ...) {
  static const auto real = next<int(const char*, int, ...)>("open");
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : mode_t{0};
  va_end(arguments);
  return active && fails("open", path) ? -1 : real(path, flags, mode);
}
int own_open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : mode_t{0};
  va_end(arguments);
  return own_open(path, flags, mode);
}
int own_mkdir(const char* path, mode_t mode) {
  static const auto real = next<int(const char*, mode_t)>("mkdir");
  return active && fails("mkdir", path) ? -1 : real(path, mode);
}
int own_rename(const char* from, const char* to) {
  static const auto real = next<int(const char*, const char*)>("rename");
  return active && fails("rename", from) ? -1 : real(from, to);
}
int own_renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  static const auto real = next<int(int, const char*, int, const char*, unsigned)>("renameat2");
  return active && fails("renameat2", from) ? -1 : real(from_folder, from, to_folder, to, flags);
}
int own_fsync(int descriptor) {
  static const auto real = next<int(int)>("fsync");
  return fails("fsync", descriptor) ? -1 : real(descriptor);
}
int own_close(int descriptor) {
  static const auto real = next<int(int)>("close");
  const bool failing = fails("close", descriptor);
  const int error = errno;
  const int result = real(descriptor);
  if (failing) errno = error;
  return failing ? -1 : result;
}
ssize_t own_write(int descriptor, const void* from, size_t bytes) {
  static const auto real = next<ssize_t(int, const void*, size_t)>("write");
  if (!fails("write", descriptor)) return real(descriptor, from, bytes);
  // A full disk takes what fits first.
  const int error = errno;
  if (bytes > 1) static_cast<void>(!real(descriptor, from, bytes / 2));
  errno = error;
  return -1;
}
ssize_t own_read(int descriptor, void* to, size_t bytes) {
  static const auto real = next<ssize_t(int, void*, size_t)>("read");
  return fails("read", descriptor) ? -1 : real(descriptor, to, bytes);
}
ssize_t own_pread(int descriptor, void* to, size_t bytes, off_t at) {
  static const auto real = next<ssize_t(int, void*, size_t, off_t)>("pread");
  return fails("pread", descriptor) ? -1 : real(descriptor, to, bytes, at);
}
ssize_t own_pread64(int descriptor, void* to, size_t bytes, off_t at) {
  return own_pread(descriptor, to, bytes, at);
}
ssize_t own_pwrite(int descriptor, const void* from, size_t bytes, off_t at) {
  static const auto real = next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return fails("pwrite", descriptor) ? -1 : real(descriptor, from, bytes, at);
}
ssize_t own_pwrite64(int descriptor, const void* from, size_t bytes, off_t at) {
  return own_pwrite(descriptor, from, bytes, at);
}
}

namespace vitral::test {

Fault::Fault(std::string call, int error, int k, std::string part, bool lasting) {
  const std::lock_guard lock(mutex);
  plan = {std::move(call), std::move(part), error, k, 0, lasting};
  active = true;
}

Fault::~Fault() { active = false; }

int Fault::count() const {
  const std::lock_guard lock(mutex);
  return plan.count;
}

}  // namespace vitral::test
