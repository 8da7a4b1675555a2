// Scratch memory of a thread, kept from call to call.
#pragma once
#include <cstddef>
#include <vector>

namespace vitral::cpu_kernels {

/// At least `count` numbers with any values; valid until this thread asks again for the same type.
template <class T>
T* scratch(std::size_t count) {
  thread_local std::vector<T> memory;
  if (memory.size() < count) memory.resize(count);
  return memory.data();
}

}  // namespace vitral::cpu_kernels
