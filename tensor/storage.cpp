#include "tensor/storage.h"

#include <bit>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "tensor/backend.h"
#include "tensor/error.h"

namespace vitral {
namespace {

// Four size classes a power of two, at least 64 bytes: few enough to be met again, close enough to waste
// little.
std::size_t size_class(std::size_t bytes) {
  if (bytes <= 64) return 64;
  const std::size_t step = std::bit_floor(bytes - 1) / 4;  // a power of two
  return (bytes + step - 1) & ~(step - 1);
}

class Allocator {
 public:
  explicit Allocator(Device device) : device_(device) {}

  void* allocate(std::size_t bytes) {
    const std::size_t size = size_class(bytes);
    const Backend& memory = backend(device_.kind);  // throws where there is none, before anything is counted
    std::lock_guard lock(mutex_);
    auto& blocks = free_[size];
    if (!blocks.empty()) {
      void* data = blocks.back();
      blocks.pop_back();
      count_in_use(size);
      return data;
    }
    // Sizes that vary (of batches, say) would otherwise each leave blocks behind.
    if (stats_.bytes_reserved > 2 * stats_.peak_in_use) release_cached_locked();
    void* data = memory.allocate(size, device_.index);
    if (!data) {
      release_cached_locked();
      data = memory.allocate(size, device_.index);
    }
    if (!data) {
      throw_error("{}: out of memory asking for {} bytes with {} in use; use a smaller batch_size",
                  device_.str(), size, stats_.bytes_in_use);
    }
    ++stats_.system_calls;
    stats_.bytes_reserved += size;
    count_in_use(size);
    return data;
  }

  void release(void* data, std::size_t bytes) {
    const std::size_t size = size_class(bytes);
    std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= size;
    free_[size].push_back(data);
  }

  void release_cached() {
    std::lock_guard lock(mutex_);
    release_cached_locked();
  }

  AllocatorStats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak_in_use = stats_.bytes_in_use;
  }

 private:
  void count_in_use(std::size_t size) {
    stats_.bytes_in_use += size;
    if (stats_.bytes_in_use > stats_.peak_in_use) stats_.peak_in_use = stats_.bytes_in_use;
  }

  void release_cached_locked() {
    for (auto& [size, blocks] : free_) {
      for (void* data : blocks) backend(device_.kind).release(data, device_.index);
      stats_.bytes_reserved -= size * blocks.size();
      blocks.clear();
    }
  }

  Device device_;
  std::mutex mutex_;
  std::unordered_map<std::size_t, std::vector<void*>> free_;
  AllocatorStats stats_;
};

// Never destroyed: tensors in static storage may outlive any order of destruction.
Allocator& allocator(Device device) {
  static auto* mutex = new std::mutex;
  static auto* allocators = new std::map<std::pair<Device::Kind, int>, Allocator*>;
  std::lock_guard lock(*mutex);
  auto& a = (*allocators)[{device.kind, device.index}];
  if (!a) a = new Allocator(device);
  return *a;
}

}  // namespace

Storage::Storage(std::size_t bytes, Device device)
    : data_(allocator(device).allocate(bytes)), bytes_(bytes), device_(device) {}

Storage::~Storage() { allocator(device_).release(data_, bytes_); }

AllocatorStats allocator_stats(Device device) { return allocator(device).stats(); }
void reset_peak(Device device) { allocator(device).reset_peak(); }
void release_cached(Device device) { allocator(device).release_cached(); }

}  // namespace vitral
