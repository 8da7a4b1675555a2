// Scratch memory of a thread, kept from call to call.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace vitral::cpu_kernels {

/// At least `count` numbers with any values; valid until this thread asks again for the same type. Aligned as
/// tensors are: where a vectorised sum begins depends on the address, and with it the last bit of the sum.
template <class T>
T* scratch(std::size_t count) {
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<T[], Free> memory;
  thread_local std::size_t size = 0;
  if (size < count) {
    constexpr std::size_t alignment = 64;
    const std::size_t bytes = (count * sizeof(T) + alignment - 1) / alignment * alignment;
    memory.reset();
    size = 0;
    memory.reset(static_cast<T*>(std::aligned_alloc(alignment, bytes)));
    if (!memory) throw std::bad_alloc();
    size = count;
  }
  return memory.get();  // NOLINT(clang-analyzer-unix.Malloc): after reset() it is the new memory
}

}  // namespace vitral::cpu_kernels
