#include "tensor/backend.h"

#include <cstdlib>
#include <cstring>

#include <sys/mman.h>

#include "base/memory.h"

namespace vitral {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;

// Large blocks ask for huge pages: activations of a batch are hundreds of MB, and page faults and TLB misses
// cost more than the arithmetic on them.
void* allocate(std::size_t bytes, int) {
  const bool large = bytes >= 2 * huge_page;
  const std::size_t alignment = large ? huge_page : 64;
  void* data = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (data && memory_is_short()) {  // tensors leave some to others
    std::free(data);
    return nullptr;
  }
  if (data && large) madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

void release(void* data, int) { std::free(data); }

void copy(void* to, Device, const void* from, Device, std::size_t bytes) { std::memmove(to, from, bytes); }

void zero(void* data, std::size_t bytes, int) { std::memset(data, 0, bytes); }

int device_count(std::string*) { return 1; }

std::string name(int) { return "CPU"; }

constexpr Backend cpu_backend{.allocate = allocate,
                              .release = release,
                              .copy = copy,
                              .zero = zero,
                              .device_count = device_count,
                              .name = name};
const bool registered = register_backend(Device::Kind::cpu, cpu_backend);

}  // namespace
}  // namespace vitral
