#include "tests/fuzz/fuzz.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

#include <sanitizer/allocator_interface.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "data/hdf5/file.h"

namespace vitral::fuzz {
namespace {

[[noreturn]] void finding(const char* what, std::size_t value, std::size_t limit) {
  std::fprintf(stderr, "finding: %s: %zu, at most %zu\n", what, value, limit);
  std::abort();
}

// Faults of ours are looked for here, where the sanitizers see them; in a child they would be the library's.
const bool hdf5_is_read_here = (data::H5File::read_here(true), true);

// Counts while `counting`; the hooks run inside malloc and free of every thread.
std::atomic<bool> counting = false;
std::atomic<std::ptrdiff_t> live = 0, peak = 0;
std::atomic<std::size_t> largest = 0;

void on_malloc(const volatile void*, std::size_t bytes) {
  if (!counting) return;
  if (bytes > largest) largest = bytes;
  const std::ptrdiff_t now = live += static_cast<std::ptrdiff_t>(bytes);
  if (now > peak) peak = now;
}
void on_free(const volatile void* block) {
  if (counting && block) live -= static_cast<std::ptrdiff_t>(__sanitizer_get_allocated_size(block));
}

int descriptor() {
  static const int fd = [] {
    const int made = ::memfd_create("fuzz", MFD_CLOEXEC);
    if (made < 0) std::abort();
    return made;
  }();
  return fd;
}

}  // namespace

const std::string& file_of(Bytes bytes) {
  static const std::string path = "/proc/self/fd/" + std::to_string(descriptor());
  if (::ftruncate(descriptor(), 0) != 0 ||
      ::pwrite(descriptor(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  return path;
}

void check(std::size_t input_bytes, std::size_t factor, std::size_t allowance, void (*f)(void*),
           void* argument) {
  static const bool installed = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0;
  if (!installed) std::abort();
  live = peak = 0;
  largest = 0;
  counting = true;
  std::string message;
  try {
    f(argument);
  } catch (const Error& e) {
    counting = false;
    message = e.what();
  }
  counting = false;
  if (message.find('\n') != std::string::npos) finding("a message of more than one line", 1, 0);
  constexpr std::size_t megabyte = 1 << 20;
  const std::size_t block_limit = input_bytes + megabyte + allowance;
  if (largest > block_limit) finding("bytes of one block", largest, block_limit);
  const std::size_t total_limit = factor * input_bytes + 8 * megabyte + allowance;
  if (peak > static_cast<std::ptrdiff_t>(total_limit))
    finding("bytes of memory", static_cast<std::size_t>(peak.load()), total_limit);
}

}  // namespace vitral::fuzz
