#include "base/memory.h"

#include <cstddef>

#include <sys/mman.h>
#include <sys/resource.h>

namespace vitral {

bool memory_is_short() {
  static const bool limited = [] {
    rlimit limit{};
    return ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  }();
  if (!limited) return false;
  constexpr std::size_t room = std::size_t{64} << 20;
  void* const there = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (there == MAP_FAILED) return true;
  ::munmap(there, room);
  return false;
}

}  // namespace vitral
