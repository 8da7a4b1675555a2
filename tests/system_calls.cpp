#include "tests/system_calls.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <mutex>
#include <new>
#include <string_view>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

namespace {

using vitral::test::FaultPlan;

constexpr std::string_view call_names[] = {"open",   "read",      "pread", "write", "pwrite",
                                           "fsync",  "ftruncate", "close", "mmap",  "copy",
                                           "rename", "renameat2", "mkdir", "link",  "unlink"};

// One lock for all: counts, names and the record are in the order in which the calls happen.
struct State {
  std::mutex mutex;
  bool active = false;
  FaultPlan plan;
  // In memory that children share, who count with their parent.
  struct Shared {
    std::atomic<int> count{0};
    std::array<std::atomic<int>, std::size(call_names)> by_children{};  // calls that are traced
  };
  Shared& shared = *new (
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared;
  int trace = -1;
  bool in_child = false;  // of a process that is traced
  std::string traced_folder;
  // Of open files. Not asked of /proc: a process that may not call readlink (seccomp) opens files, too.
  std::array<std::string, 4096> names;
};

// Other libraries open files before the variables of this one are made, and after they are gone.
State& state() {
  static auto* const all = new State;
  return *all;
}

// A fork while another thread holds the lock must not leave it locked in the child.
const bool prepared = ::pthread_atfork([] { state().mutex.lock(); }, [] { state().mutex.unlock(); },
                                       [] {
                                         state().in_child = state().in_child || state().trace >= 0;
                                         state().trace = -1;
                                         state().mutex.unlock();
                                       }) == 0;

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

std::string name_of(int descriptor) {
  return descriptor >= 0 && static_cast<std::size_t>(descriptor) < state().names.size()
             ? state().names[static_cast<std::size_t>(descriptor)]
             : "";
}
void set_name(int descriptor, const std::string& name) {
  if (descriptor >= 0 && static_cast<std::size_t>(descriptor) < state().names.size())
    state().names[static_cast<std::size_t>(descriptor)] = name;
}

// The path from the root: relative ones begin in the working folder, or in that of an open descriptor.
std::string absolute(const char* path, int folder = AT_FDCWD) {
  if (!path || *path == '/') return path ? path : "";
  char base[4096];
  if (folder == AT_FDCWD) {
    if (!::getcwd(base, sizeof base)) return path;
    return std::string(base) + "/" + path;
  }
  char link[40];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
  const ssize_t n = ::readlink(link, base, sizeof base);
  return n < 0 ? path : std::string(base, static_cast<std::size_t>(n)) + "/" + path;
}

bool lies_in(const std::string& path, const std::string& folder) {
  return folder.empty() ||
         (path.starts_with(folder) && path.size() > folder.size() && path[folder.size()] == '/');
}

void put(const void* data, std::size_t bytes) {
  static const auto write = next<ssize_t(int, const void*, size_t)>("write");
  if (write(state().trace, data, bytes) != static_cast<ssize_t>(bytes)) std::abort();
}
void put(std::string_view text) {
  const std::uint64_t bytes = text.size();
  put(&bytes, sizeof bytes);
  put(text.data(), text.size());
}

// What a call does to files, and who does it.
struct Call {
  const char* name;
  std::string path, to = {};
  std::int64_t at = 0;
  const void* data = nullptr;  // of a write
};

void record(const Call& call, ssize_t result) {
  if ((state().trace < 0 && !state().in_child) || !lies_in(call.path, state().traced_folder)) return;
  if (state().in_child) {  // it may have no file to write to
    ++state().shared.by_children.at(
        static_cast<std::size_t>(std::ranges::find(call_names, call.name) - call_names));
    return;
  }
  put(call.name);
  put(call.path);
  put(call.to);
  put(&call.at, sizeof call.at);
  const bool failed = result < 0;
  put(&failed, sizeof failed);
  put(call.data && !failed
          ? std::string_view(static_cast<const char*>(call.data), static_cast<std::size_t>(result))
          : std::string_view());
}

// The calls of children follow at the end, without what they did.
[[gnu::destructor]] void record_children() {
  const std::lock_guard lock(state().mutex);
  if (state().trace < 0) return;
  for (std::size_t i = 0; i < std::size(call_names); ++i)
    for (int n = state().shared.by_children.at(i); n > 0; --n)
      record({call_names[i].data(), state().traced_folder + "/(a child)"}, 0);
}

// The number of the call is the planned one.
bool is_planned(const Call& call) {
  const FaultPlan& plan = state().plan;
  if (!state().active || (plan.call != call.name && plan.call != "any") ||
      call.path.find(plan.part) == std::string::npos || !lies_in(call.path, plan.folder))
    return false;
  const int number = state().shared.count++;
  return plan.k >= 0 && (number == plan.k || (number > plan.k && plan.lasting));
}

[[noreturn]] void end_process() {
  ::kill(::getpid(), SIGKILL);
  ::_exit(128 + SIGKILL);  // a child that may not send signals
}

// What of the bytes a call moves: all, half, none and it says all (lost), others (garbled).
enum class Part { whole, half, none, other };

// real(part) makes the call.
ssize_t make(const Call& call, const std::function<ssize_t(Part part)>& real, bool moves_bytes = false) {
  const FaultPlan& plan = state().plan;
  using Kill = FaultPlan::Kill;
  const bool planned = is_planned(call);
  if (planned && plan.kill == Kill::before) end_process();
  if (planned && plan.kill == Kill::middle) {
    if (moves_bytes) real(Part::half);
    end_process();
  }
  if (planned && plan.error == vitral::test::lost) return real(Part::none);
  if (planned && plan.error == vitral::test::garbled) return real(Part::other);
  if (planned && plan.error != 0) {
    // A full disk takes what fits first; a close closes even where it fails.
    if ((call.data && plan.error != EINTR) || std::strcmp(call.name, "close") == 0)
      real(call.data ? Part::half : Part::whole);
    errno = plan.error;
    return -1;
  }
  const ssize_t result = real(planned && plan.shortened && moves_bytes ? Part::half : Part::whole);
  const int why = errno;
  record(call, result);
  if (planned && plan.kill == Kill::after) end_process();
  errno = why;
  return result;
}

// Bytes of a descriptor from an offset, or from where it stands.
using Transfer = std::function<ssize_t(std::size_t bytes)>;
ssize_t transfer(Call call, int descriptor, std::size_t bytes, const Transfer& real) {
  const std::lock_guard lock(state().mutex);
  call.path = name_of(descriptor);
  if (call.path.empty()) return real(bytes);
  return make(
      call,
      [&](Part part) { return bytes == 0 ? real(0) : real(part == Part::half ? (bytes + 1) / 2 : bytes); },
      true);
}

using Write = std::function<ssize_t(const void* from, std::size_t bytes)>;
// ... in the order of their calls; where it stands is the file's end after appending, so it is asked after.
ssize_t write_at(const char* name, int descriptor, const void* from, std::size_t bytes, off_t at,
                 const Write& real) {
  const std::lock_guard lock(state().mutex);
  Call call{name, name_of(descriptor), {}, at, from};
  if (call.path.empty()) return real(from, bytes);
  return make(
      call,
      [&](Part part) {
        if (part == Part::none) return static_cast<ssize_t>(bytes);
        std::string other;
        if (part == Part::other) {
          other.assign(static_cast<const char*>(from), bytes);
          for (char& c : other) c = static_cast<char>(c ^ 0x5a);
        }
        const ssize_t n =
            real(part == Part::other ? other.data() : from, part == Part::half ? (bytes + 1) / 2 : bytes);
        if (at < 0 && n >= 0) call.at = ::lseek(descriptor, 0, SEEK_CUR) - n;
        return n;
      },
      true);
}

int on_path(const Call& call, const std::function<int()>& real) {
  const std::lock_guard lock(state().mutex);
  return static_cast<int>(make(call, [&](Part) { return real(); }));
}

int open_as(const char* path, int flags, const std::function<int()>& real) {
  const std::lock_guard lock(state().mutex);
  const std::string name = absolute(path);
  const int result = static_cast<int>(make({"open", name, {}, flags}, [&](Part) { return real(); }));
  set_name(result, name);
  return result;
}

FILE* stream_as(const char* path, const char* mode, const std::function<FILE*()>& real) {
  FILE* stream = nullptr;
  const int flags = *mode == 'r' ? O_RDONLY : O_CREAT | (*mode == 'w' ? O_TRUNC : O_APPEND);
  open_as(path, flags, [&] {
    stream = real();
    return stream ? ::fileno(stream) : -1;
  });
  return stream;
}

}  // namespace

// Under the names of the C library, both those of large files and not: on 64 bits they are the same. The
// compiler must not take them for the functions that it knows.
#define VITRAL_OWN(result, name, parameters)   \
  result own_##name parameters __asm__(#name); \
  result own_##name parameters

extern "C" {
VITRAL_OWN(int, open, (const char* path, int flags, ...)) {
  static const auto real = next<int(const char*, int, ...)>("open");
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : mode_t{0};
  va_end(arguments);
  return open_as(path, flags, [&] { return real(path, flags, mode); });
}
VITRAL_OWN(int, open64, (const char* path, int flags, ...)) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : mode_t{0};
  va_end(arguments);
  return own_open(path, flags, mode);
}
VITRAL_OWN(FILE*, fopen, (const char* path, const char* mode)) {
  static const auto real = next<FILE*(const char*, const char*)>("fopen");
  return stream_as(path, mode, [&] { return real(path, mode); });
}
VITRAL_OWN(FILE*, fopen64, (const char* path, const char* mode)) { return own_fopen(path, mode); }
VITRAL_OWN(int, fclose, (FILE * stream)) {
  static const auto real = next<int(FILE*)>("fclose");
  const std::lock_guard lock(state().mutex);
  set_name(::fileno(stream), "");
  return real(stream);
}
VITRAL_OWN(int, close, (int descriptor)) {
  static const auto real = next<int(int)>("close");
  const std::lock_guard lock(state().mutex);
  const Call call{"close", name_of(descriptor)};
  set_name(descriptor, "");
  if (call.path.empty()) return real(descriptor);
  return static_cast<int>(make(call, [&](Part) { return real(descriptor); }));
}
VITRAL_OWN(ssize_t, read, (int descriptor, void* to, size_t bytes)) {
  static const auto real = next<ssize_t(int, void*, size_t)>("read");
  return transfer({"read", {}}, descriptor, bytes, [&](std::size_t n) { return real(descriptor, to, n); });
}
VITRAL_OWN(ssize_t, pread, (int descriptor, void* to, size_t bytes, off_t at)) {
  static const auto real = next<ssize_t(int, void*, size_t, off_t)>("pread");
  return transfer({"pread", {}}, descriptor, bytes,
                  [&](std::size_t n) { return real(descriptor, to, n, at); });
}
VITRAL_OWN(ssize_t, pread64, (int descriptor, void* to, size_t bytes, off_t at)) {
  return own_pread(descriptor, to, bytes, at);
}
VITRAL_OWN(ssize_t, write, (int descriptor, const void* from, size_t bytes)) {
  static const auto real = next<ssize_t(int, const void*, size_t)>("write");
  return write_at("write", descriptor, from, bytes, -1,
                  [&](const void* some, std::size_t n) { return real(descriptor, some, n); });
}
VITRAL_OWN(ssize_t, pwrite, (int descriptor, const void* from, size_t bytes, off_t at)) {
  static const auto real = next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return write_at("pwrite", descriptor, from, bytes, at,
                  [&](const void* some, std::size_t n) { return real(descriptor, some, n, at); });
}
VITRAL_OWN(ssize_t, pwrite64, (int descriptor, const void* from, size_t bytes, off_t at)) {
  return own_pwrite(descriptor, from, bytes, at);
}
VITRAL_OWN(ssize_t, sendfile, (int to, int from, off_t* offset, size_t bytes)) {
  static const auto real = next<ssize_t(int, int, off_t*, size_t)>("sendfile");
  static const auto pread = next<ssize_t(int, void*, size_t, off_t)>("pread");
  const std::lock_guard lock(state().mutex);
  Call call{"copy", name_of(to)};
  if (call.path.empty()) return real(to, from, offset, bytes);
  std::string data;
  return make(
      call,
      [&](Part part) {
        const off_t begin = offset ? *offset : ::lseek(from, 0, SEEK_CUR);
        const off_t left = ::lseek(from, 0, SEEK_END) - begin;
        ::lseek(from, begin, SEEK_SET);
        const ssize_t n =
            real(to, from, offset,
                 part == Part::half && left > 1 ? std::min(bytes, static_cast<size_t>(left) / 2) : bytes);
        if (n < 0 || state().trace < 0) return n;
        data.resize(static_cast<std::size_t>(n));
        if (pread(from, data.data(), data.size(), begin) != n) std::abort();
        call.data = data.data();
        call.at = ::lseek(to, 0, SEEK_CUR) - n;
        return n;
      },
      true);
}
VITRAL_OWN(ssize_t, sendfile64, (int to, int from, off_t* offset, size_t bytes)) {
  return own_sendfile(to, from, offset, bytes);
}
VITRAL_OWN(int, fsync, (int descriptor)) {
  static const auto real = next<int(int)>("fsync");
  return static_cast<int>(
      transfer({"fsync", {}}, descriptor, 0, [&](std::size_t) { return real(descriptor); }));
}
VITRAL_OWN(int, fdatasync, (int descriptor)) {
  static const auto real = next<int(int)>("fdatasync");
  return static_cast<int>(
      transfer({"fsync", {}}, descriptor, 0, [&](std::size_t) { return real(descriptor); }));
}
VITRAL_OWN(int, ftruncate, (int descriptor, off_t size)) {
  static const auto real = next<int(int, off_t)>("ftruncate");
  return static_cast<int>(transfer({"ftruncate", {}, {}, size}, descriptor, 0,
                                   [&](std::size_t) { return real(descriptor, size); }));
}
VITRAL_OWN(int, ftruncate64, (int descriptor, off_t size)) { return own_ftruncate(descriptor, size); }
VITRAL_OWN(void*, mmap, (void* place, size_t bytes, int protection, int flags, int descriptor, off_t at)) {
  static const auto real = next<void*(void*, size_t, int, int, int, off_t)>("mmap");
  if (descriptor < 0) return real(place, bytes, protection, flags, descriptor, at);
  void* result = MAP_FAILED;
  transfer({"mmap", {}}, descriptor, 0, [&](std::size_t) {
    result = real(place, bytes, protection, flags, descriptor, at);
    return result == MAP_FAILED ? -1 : 0;
  });
  return result;
}
VITRAL_OWN(void*, mmap64, (void* place, size_t bytes, int protection, int flags, int descriptor, off_t at)) {
  return own_mmap(place, bytes, protection, flags, descriptor, at);
}
VITRAL_OWN(int, rename, (const char* from, const char* to)) {
  static const auto real = next<int(const char*, const char*)>("rename");
  return on_path({"rename", absolute(from), absolute(to)}, [&] { return real(from, to); });
}
VITRAL_OWN(int, renameat2,
           (int from_folder, const char* from, int to_folder, const char* to, unsigned flags)) {
  static const auto real = next<int(int, const char*, int, const char*, unsigned)>("renameat2");
  return on_path({"renameat2", absolute(from, from_folder), absolute(to, to_folder), flags},
                 [&] { return real(from_folder, from, to_folder, to, flags); });
}
VITRAL_OWN(int, mkdir, (const char* path, mode_t mode)) {
  static const auto real = next<int(const char*, mode_t)>("mkdir");
  return on_path({"mkdir", absolute(path)}, [&] { return real(path, mode); });
}
VITRAL_OWN(int, link, (const char* from, const char* to)) {
  static const auto real = next<int(const char*, const char*)>("link");
  return on_path({"link", absolute(from), absolute(to)}, [&] { return real(from, to); });
}
VITRAL_OWN(int, unlink, (const char* path)) {
  static const auto real = next<int(const char*)>("unlink");
  return on_path({"unlink", absolute(path)}, [&] { return real(path); });
}
VITRAL_OWN(int, unlinkat, (int folder, const char* path, int flags)) {
  static const auto real = next<int(int, const char*, int)>("unlinkat");
  return on_path({"unlink", absolute(path, folder)}, [&] { return real(folder, path, flags); });
}
VITRAL_OWN(int, remove, (const char* path)) {
  static const auto real = next<int(const char*)>("remove");
  return on_path({"unlink", absolute(path)}, [&] { return real(path); });
}
VITRAL_OWN(int, rmdir, (const char* path)) {
  static const auto real = next<int(const char*)>("rmdir");
  return on_path({"unlink", absolute(path)}, [&] { return real(path); });
}
}

namespace vitral::test {

Fault::Fault(FaultPlan p) {
  const std::lock_guard lock(state().mutex);
  state().plan = std::move(p);
  state().shared.count = 0;
  state().active = true;
}

Fault::~Fault() {
  const std::lock_guard lock(state().mutex);
  state().active = false;
}

int Fault::count() const {
  const std::lock_guard lock(state().mutex);
  return state().shared.count;
}

void trace_calls(const std::string& file, const std::string& folder) {
  static const auto open = next<int(const char*, int, ...)>("open");
  const std::lock_guard lock(state().mutex);
  state().traced_folder = folder;
  state().trace = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

}  // namespace vitral::test
