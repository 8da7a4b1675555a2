// Memory of devices, pinned memory, and copies.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

#include "runtime.h"

namespace simulator {
namespace {

// Whoever reads what nobody wrote gets NaN. Larger blocks are left alone: filling would make their pages
// real.
constexpr int poison = 0xFF;
constexpr std::size_t untouched_bytes = std::size_t{64} << 20;
constexpr std::size_t alignment = 256;  // as cudaMalloc's

// Pages of its own, at whose end the block ends; the page behind is never there.
unsigned char* map_pages(std::size_t bytes, std::size_t& mapping) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t pages = (bytes + page - 1) / page * page;
  mapping = pages + page;
  void* data = mmap(nullptr, mapping, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  mprotect(data, pages, PROT_READ | PROT_WRITE);
  return static_cast<unsigned char*>(data) + (pages - (bytes + alignment - 1) / alignment * alignment);
}

void unmap_pages(unsigned char* block, std::size_t mapping) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  munmap(block - reinterpret_cast<std::uintptr_t>(block) % page, mapping);
}

// Blocks of malloc, so that AddressSanitizer knows their ends; large ones come from the system, which is
// asked for no more than is used.
cudaError_t allocate(void** data, std::size_t bytes, int device) {
  *data = nullptr;
  if (bytes == 0) return cudaSuccess;
  const Locked state;
  const std::size_t used = device < 0 ? 0 : state->used[device];
  if (device >= 0 && (used > settings().memory || bytes > settings().memory - used))
    return cudaErrorMemoryAllocation;
  MemoryBlock block{.bytes = bytes, .device = device};
  void* memory = nullptr;
  if (bytes > untouched_bytes || (settings().protect && device >= 0))
    memory = map_pages(bytes, block.mapping);
  else if (posix_memalign(&memory, alignment, bytes) != 0)
    memory = nullptr;
  if (!memory) return cudaErrorMemoryAllocation;
  if (bytes <= untouched_bytes && !settings().dry) std::memset(memory, poison, bytes);
  *data = memory;
  const DeviceAccess closes_the_new_block;
  if (device >= 0) state->used[device] += bytes;
  state->memory[static_cast<unsigned char*>(memory)] = block;
  return cudaSuccess;
}

// As CUDA does, after all that may use it.
cudaError_t release(void* data, bool pinned) {
  if (!data) return cudaSuccess;
  const Locked state;
  const auto at = state->memory.find(static_cast<unsigned char*>(data));
  if (at == state->memory.end() || (at->second.device < 0) != pinned) return cudaErrorInvalidValue;
  drain(-1);
  const MemoryBlock block = at->second;
  state->memory.erase(at);
  if (!pinned) state->used[block.device] -= block.bytes;
  if (block.mapping > 0)
    unmap_pages(static_cast<unsigned char*>(data), block.mapping);
  else
    std::free(data);
  return cudaSuccess;
}

void copy_now(void* to, const void* from, std::size_t bytes, bool to_host) {
  if (!settings().dry)
    std::memmove(to, from, bytes);
  else if (to_host)
    std::memset(to, 0, bytes);
}

cudaError_t copy(void* to, const void* from, std::size_t bytes, CUstream_st* stream, bool wait) {
  if (bytes == 0) return cudaSuccess;
  if (!to || !from) return cudaErrorInvalidValue;
  const Locked state;
  bool to_fits = false, from_fits = false;
  const MemoryBlock* const target = find_memory(to, bytes, &to_fits);
  const MemoryBlock* const source = find_memory(from, bytes, &from_fits);
  if (!to_fits || !from_fits) return cudaErrorInvalidValue;
  const bool to_host = !target || target->device < 0;
  if (target && source && !wait) return push(stream, [=] { copy_now(to, from, bytes, to_host); });
  // CUDA takes pageable memory at once or holds the caller until it is done.
  if (capturing(stream)) {
    stream->capture->invalidated = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  advance(stream);
  const DeviceAccess access;
  copy_now(to, from, bytes, to_host);
  return cudaSuccess;
}

}  // namespace

const MemoryBlock* find_memory(const void* address, std::size_t bytes, bool* fits) {
  const Locked state;
  const auto* const begin = static_cast<const unsigned char*>(address);
  auto next = state->memory.upper_bound(begin);
  if (fits) *fits = next == state->memory.end() || bytes <= static_cast<std::size_t>(next->first - begin);
  if (next == state->memory.begin()) return nullptr;
  const auto& [start, block] = *--next;
  if (begin >= start + block.bytes) return nullptr;
  if (fits) *fits = bytes <= static_cast<std::size_t>(start + block.bytes - begin);
  return &block;
}

}  // namespace simulator

using namespace simulator;

cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  return report(allocate(data, bytes, current_device()));
}
cudaError_t cudaFree(void* data) { return report(release(data, false)); }
cudaError_t cudaHostAlloc(void** data, std::size_t bytes, unsigned) {
  return report(allocate(data, bytes, -1));
}
cudaError_t cudaMallocHost(void** data, std::size_t bytes) {
  return cudaHostAlloc(data, bytes, cudaHostAllocDefault);
}
cudaError_t cudaFreeHost(void* data) { return report(release(data, true)); }

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const Locked state;
  *total = settings().memory;
  *free = *total - std::min(*total, state->used[current_device()]);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  return report(copy(to, from, bytes, resolve(stream), false));
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  return report(copy(to, from, bytes, resolve(nullptr), true));
}

cudaError_t cudaMemsetAsync(void* data, int value, std::size_t bytes, cudaStream_t stream) {
  bool fits = false;
  if (!find_memory(data, bytes, &fits) || !fits)
    return report(bytes == 0 ? cudaSuccess : cudaErrorInvalidValue);
  return report(push(stream, [=] {
    if (!settings().dry) std::memset(data, value, bytes);
  }));
}

cudaError_t cudaMemset(void* data, int value, std::size_t bytes) {
  return cudaMemsetAsync(data, value, bytes, nullptr);
}
