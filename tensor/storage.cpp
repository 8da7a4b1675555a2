#include "tensor/storage.h"

#include <bit>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "tensor/arena.h"
#include "tensor/backend.h"

namespace vitral {

namespace {

// Few enough classes to be met again, close enough to waste little: at most a quarter of small blocks and a
// thirtieth of large ones, which are what fills a GPU.
std::size_t size_class(std::size_t bytes) {
  constexpr std::size_t smallest = 64, large = std::size_t{1} << 20;
  if (bytes <= smallest) return smallest;
  const std::size_t step = std::bit_floor(bytes - 1) / (bytes > large ? 32 : 4);  // a power of two
  return (bytes + step - 1) & ~(step - 1);
}

// What all allocators of a device share.
struct Shared {
  std::mutex mutex;
  AllocatorStats stats;
  std::mutex asking;                                                     // held by who asks for
  std::vector<std::shared_ptr<const std::function<bool()>>> spare = {};  // (SpareMemory)
};

bool ask_for_spare(Shared& shared) {
  const std::lock_guard asking(shared.asking);
  bool any = false;
  for (const auto& give_back : shared.spare) any = (*give_back)() || any;
  return any;
}

}  // namespace

namespace detail {

class Allocator {
 public:
  enum class Kind { device, pool, pinned };

  Allocator(Device device, Kind kind, Shared& shared) : device_(device), kind_(kind), shared_(shared) {}
  ~Allocator() { release_cached(); }
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  Device device() const { return device_; }

  void* allocate(std::size_t bytes);

  void release(void* data, std::size_t bytes) {
    std::lock_guard lock(shared_.mutex);
    if (kind_ == Kind::pool) {
      shared_.stats.bytes_in_use -= arena_.release(data);
      return;
    }
    const std::size_t size = size_class(bytes);
    shared_.stats.bytes_in_use -= size;
    try {
      free_[size].push_back(data);
    } catch (const std::bad_alloc&) {  // where memory ends, as a destructor runs: it may not throw
      to_system(data);
      shared_.stats.bytes_reserved -= size;
    }
  }

  void release_cached() {
    std::lock_guard lock(shared_.mutex);
    release_cached_locked();
  }

  void release_free_segments() {
    std::lock_guard lock(shared_.mutex);
    arena_.clear_free([&](void* data, std::size_t bytes) { release_segment(data, bytes); });
  }

  AllocatorStats stats() {
    std::lock_guard lock(shared_.mutex);
    return shared_.stats;
  }

  void reset_peak() {
    std::lock_guard lock(shared_.mutex);
    shared_.stats.peak_in_use = shared_.stats.bytes_in_use;
  }

 private:
  void count_in_use(std::size_t size) {
    shared_.stats.bytes_in_use += size;
    if (shared_.stats.bytes_in_use > shared_.stats.peak_in_use)
      shared_.stats.peak_in_use = shared_.stats.bytes_in_use;
  }

  void* from_system(std::size_t size) const {
    const Backend& memory = backend(device_.kind);
    return kind_ == Kind::pinned ? memory.allocate_pinned(size, device_.index)
                                 : memory.allocate(size, device_.index);
  }

  void to_system(void* data) const {
    const Backend& memory = backend(device_.kind);
    return kind_ == Kind::pinned ? memory.release_pinned(data, device_.index)
                                 : memory.release(data, device_.index);
  }

  void release_segment(void* data, std::size_t bytes) {
    to_system(data);
    shared_.stats.bytes_reserved -= bytes;
  }

  void* reuse(std::size_t size) {
    if (kind_ == Kind::pool) return arena_.allocate(size);
    auto& blocks = free_[size];
    if (blocks.empty()) return nullptr;
    void* data = blocks.back();
    blocks.pop_back();
    return data;
  }

  // Of a pool only at its end: until then graphs may use all of it.
  void release_cached_locked() {
    arena_.clear([&](void* data, std::size_t bytes) { release_segment(data, bytes); });
    for (auto& [size, blocks] : free_) {
      for (void* data : blocks) to_system(data);
      shared_.stats.bytes_reserved -= size * blocks.size();
      blocks.clear();
    }
  }

  Device device_;
  Kind kind_;
  Shared& shared_;
  std::unordered_map<std::size_t, std::vector<void*>> free_;  // by size class
  Arena arena_;                                               // of a pool instead
};

}  // namespace detail

namespace {

using detail::Allocator;

struct MemoryOfDevice {
  Shared shared, pinned_shared;
  std::shared_ptr<Allocator> common, pinned;
};

// Never destroyed: tensors in static storage may outlive any order of destruction.
MemoryOfDevice& memory_of(Device device) {
  static auto* mutex = new std::mutex;
  static auto* devices = new std::map<std::pair<Device::Kind, int>, MemoryOfDevice*>;
  std::lock_guard lock(*mutex);
  auto& d = (*devices)[{device.kind, device.index}];
  if (!d) {
    d = new MemoryOfDevice;
    d->common = std::make_shared<Allocator>(device, Allocator::Kind::device, d->shared);
    d->pinned = std::make_shared<Allocator>(device, Allocator::Kind::pinned, d->pinned_shared);
  }
  return *d;
}

thread_local std::shared_ptr<Allocator> pool_in_use;

std::shared_ptr<Allocator> allocator_for(Device device) {
  if (pool_in_use && pool_in_use->device() == device) return pool_in_use;
  return memory_of(device).common;
}

}  // namespace

void* detail::Allocator::allocate(std::size_t bytes) {
  constexpr std::size_t segment = std::size_t{2} << 20;  // what a pool asks the system for, at least
  const bool pool = kind_ == Kind::pool;
  const std::size_t size = pool ? Arena::rounded(bytes) : size_class(bytes);
  backend(device_.kind);  // throws where there is none, before anything is counted
  Allocator& common = *memory_of(device_).common;
  std::unique_lock lock(shared_.mutex);
  if (void* data = reuse(size)) {
    count_in_use(size);
    return data;
  }
  // Sizes that vary (of batches, say) would otherwise each leave blocks behind.
  if (kind_ == Kind::device && shared_.stats.bytes_reserved > 2 * shared_.stats.peak_in_use)
    release_cached_locked();
  const std::size_t asked = pool ? (size + segment - 1) / segment * segment : size;
  void* data = from_system(asked);
  if (!data && kind_ != Kind::pinned) {
    common.release_cached_locked();  // under the same mutex; blocks of pools stay
    data = from_system(asked);
    if (!data) {
      lock.unlock();
      const bool more = ask_for_spare(shared_);
      lock.lock();
      if (more) data = from_system(asked);
    }
  }
  if (!data) {
    throw_error<MemoryError>(
        "{}: out of {}memory asking for {} bytes with {} in use; use a smaller batch_size",
        kind_ == Kind::pinned ? "cpu" : device_.str(), kind_ == Kind::pinned ? "pinned " : "", size,
        shared_.stats.bytes_in_use);
  }
  ++shared_.stats.system_calls;
  shared_.stats.bytes_reserved += asked;
  count_in_use(size);
  if (!pool) return data;
  arena_.add_segment(data, asked);
  return arena_.allocate(size);
}

Storage::Storage(std::size_t bytes, Device device, HostMemory memory) : bytes_(bytes), device_(device) {
  // Where no GPU is in use nothing copies beside the host: its memory is as good as any.
  const int gpus = memory == HostMemory::pinned && has_backend(Device::Kind::cuda) ? gpu_count() : 0;
  pinned_ = gpus > 0;
  allocator_ =
      pinned_ ? memory_of({Device::Kind::cuda, preferred_gpu() % gpus}).pinned : allocator_for(device);
  data_ = allocator_->allocate(bytes);
}

Storage::Storage(void* data, std::size_t bytes, std::shared_ptr<const void> owner)
    : owner_(std::move(owner)), data_(data), bytes_(bytes), device_(cpu) {}

Storage::~Storage() {
  if (allocator_) allocator_->release(data_, bytes_);
}

MemoryPool::MemoryPool(Device device)
    : allocator_(std::make_shared<Allocator>(device, Allocator::Kind::pool, memory_of(device).shared)) {}

void MemoryPool::release_free() const { allocator_->release_free_segments(); }

SpareMemory::SpareMemory(Device device, std::function<bool()> give_back)
    : device_(device), give_back_(std::make_shared<const std::function<bool()>>(std::move(give_back))) {
  Shared& shared = memory_of(device_).shared;
  const std::lock_guard asking(shared.asking);
  shared.spare.push_back(give_back_);
}

SpareMemory::~SpareMemory() {
  Shared& shared = memory_of(device_).shared;
  const std::lock_guard asking(shared.asking);
  std::erase(shared.spare, give_back_);
}

DeviceMemory device_memory(Device device) {
  const auto memory = backend(device.kind).memory;
  VITRAL_CHECK(memory, "device_memory: {} is not asked for its memory, only a GPU is", device.str());
  DeviceMemory out;
  memory(device.index, &out.total, &out.free);
  return out;
}

MemoryPool::Use::Use(const MemoryPool& pool) : before_(std::exchange(pool_in_use, pool.allocator_)) {}
MemoryPool::Use::~Use() { pool_in_use = std::move(before_); }

AllocatorStats allocator_stats(Device device) { return memory_of(device).common->stats(); }
void reset_peak(Device device) { memory_of(device).common->reset_peak(); }
void release_cached(Device device) { memory_of(device).common->release_cached(); }

}  // namespace vitral
