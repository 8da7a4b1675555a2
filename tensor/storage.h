// Memory of tensors, from one reusing allocator a device.
//
// Freed blocks are kept by size class (four a power of two, so at most 25 % is lost to rounding) and handed
// out again: a training step whose shapes repeat asks the system for nothing once warm.
#pragma once
#include <cstddef>
#include <memory>

#include "tensor/device.h"

namespace vitral {

struct AllocatorStats {
  std::size_t system_calls = 0;    // allocations that went to the system (malloc, cudaMalloc)
  std::size_t bytes_reserved = 0;  // held from the system, in use or cached
  std::size_t bytes_in_use = 0;
  std::size_t peak_in_use = 0;
};

class Storage {
 public:
  Storage(std::size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_;
};

AllocatorStats allocator_stats(Device device);
void reset_peak(Device device);
/// Gives every cached block back to the system.
void release_cached(Device device);

}  // namespace vitral
