// Memory of tensors, from reusing allocators.
//
// Freed blocks are kept by size class (four a power of two, thirty-two above 1 MiB, so that little is lost to
// rounding) and handed out again: a training step whose shapes repeat asks the system for nothing once warm.
// On a GPU all kernels run in the order of the program (tensor/stream.h), so a block may be handed out again
// while the kernel that read it is still queued: whoever gets it queues behind.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>

#include "tensor/device.h"

namespace vitral {

struct AllocatorStats {
  std::size_t system_calls = 0;    // allocations that went to the system (malloc, cudaMalloc)
  std::size_t bytes_reserved = 0;  // held from the system, in use or cached
  std::size_t bytes_in_use = 0;
  std::size_t peak_in_use = 0;
};

namespace detail {
class Allocator;
}

/// Where host memory lies: `pinned` can be copied while the host goes on (tensor/stream.h), and is made for
/// the preferred GPU (tensor/device.h). Before this process has asked for a GPU, or without one, it is as any
/// other.
enum class HostMemory : unsigned char { plain, pinned };

class Storage {
 public:
  Storage(std::size_t bytes, Device device, HostMemory memory = HostMemory::plain);
  /// Host memory that `owner` keeps: a mapped file, say. It is not counted in AllocatorStats.
  Storage(void* data, std::size_t bytes, std::shared_ptr<const void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  bool pinned() const { return pinned_; }

 private:
  std::shared_ptr<detail::Allocator> allocator_;  // none where an owner keeps the memory
  std::shared_ptr<const void> owner_;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_;
  bool pinned_ = false;
};

/// Memory apart, whose blocks go to nobody else: what a Graph (tensor/stream.h) recorded uses the same
/// addresses at every launch. Cut out of segments (tensor/arena.h), which go back to the system with the last
/// tensor after the pool is gone.
class MemoryPool {
 public:
  explicit MemoryPool(Device device);

  /// While one lives, tensors that this thread makes on the pool's device are made there.
  class Use {
   public:
    explicit Use(const MemoryPool& pool);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    std::shared_ptr<detail::Allocator> before_;
  };

  /// Gives the segments back to the system in which no tensor lies. Graphs that were recorded over them must
  /// not be launched any more.
  void release_free() const;

 private:
  std::shared_ptr<detail::Allocator> allocator_;
};

/// Memory of a device that somebody holds and can do without. Who finds no memory left asks for it:
/// give_back() is called, possibly by another thread, must not make tensors, and says whether it has given
/// any back.
class SpareMemory {
 public:
  SpareMemory(Device device, std::function<bool()> give_back);
  ~SpareMemory();
  SpareMemory(const SpareMemory&) = delete;
  SpareMemory& operator=(const SpareMemory&) = delete;

 private:
  Device device_;
  std::shared_ptr<const std::function<bool()>> give_back_;
};

/// What a GPU has, in bytes, and how much of it nobody holds, no other program either.
struct DeviceMemory {
  std::size_t total = 0, free = 0;
};
/// UsageError on the CPU.
DeviceMemory device_memory(Device device);

/// Of all memory of the device, pools included; pinned host memory is not counted.
AllocatorStats allocator_stats(Device device);
void reset_peak(Device device);
/// Gives every cached block back to the system, but those of pools.
void release_cached(Device device);

}  // namespace vitral
