// The simulated runtime's state: streams as queues of functions, memory, errors. All under one lock.
#pragma once
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "cuda_runtime.h"

namespace simulator {

using Task = std::function<void()>;

/// Bytes of shared memory that a block has, and that it can ask for.
constexpr std::size_t default_shared = std::size_t{48} << 10, most_shared = std::size_t{227} << 10;

/// What cudaStreamBeginCapture starts: tasks of all streams that take part, in the order of the calls.
struct Capture {
  CUstream_st* origin = nullptr;
  std::vector<Task> tasks;
  std::set<CUstream_st*> unjoined;  // streams with work that `origin` does not wait for
  bool invalidated = false;
};

/// A place in a stream that an event marked.
struct Mark {
  CUstream_st* stream = nullptr;
  std::shared_ptr<Capture> capture;  // where it was made while capturing
  bool done = false;
  int queries = 0;
  std::chrono::steady_clock::time_point time;
};

struct MemoryBlock {
  std::size_t bytes = 0;
  int device = 0;           // -1: pinned host memory
  std::size_t mapping = 0;  // bytes of its pages and a guard behind; 0: a block of malloc
};

struct Runtime {
  std::recursive_mutex mutex;
  std::vector<CUstream_st*> streams;
  std::map<int, CUstream_st*> default_streams;
  std::map<const unsigned char*, MemoryBlock> memory;
  std::map<int, std::size_t> used;  // bytes of each device
  std::map<const void*, std::size_t> shared_limits;
  std::chrono::nanoseconds passed{};  // beside the host's clock: what products are said to take
};

/// The runtime, locked.
class Locked {
 public:
  Locked();
  Runtime* operator->() const;

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

/// Makes it the thread's last error, and gives it back.
cudaError_t report(cudaError_t error);
int current_device();

/// Queues on the stream, or records where it is capturing.
cudaError_t push(cudaStream_t stream, Task task);
CUstream_st* resolve(cudaStream_t stream);  // the thread's default stream for null
bool capturing(const CUstream_st* stream);
/// Runs the stream until the mark is done, or all of it where there is none.
void advance(CUstream_st* stream, const Mark* until = nullptr);
/// All streams of a device (-1: of all), a task of each in turn or one stream after the other.
void drain(int device);

/// The devices' clock, which events read: the host's, and what passed beside it.
void pass(std::chrono::nanoseconds time);
std::chrono::steady_clock::time_point device_time();

/// The block that holds the address; null for memory of the host that CUDA does not know. `fits` says whether
/// the bytes lie in one piece.
const MemoryBlock* find_memory(const void* address, std::size_t bytes, bool* fits = nullptr);

/// While one lives the device's memory can be touched; with VITRAL_SIMULATOR_PROTECT not otherwise. Under the
/// runtime's lock.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

}  // namespace simulator

struct CUstream_st {
  int device = 0;
  std::deque<simulator::Task> tasks;
  std::shared_ptr<simulator::Capture> capture;
};
struct CUevent_st {
  bool timing = true;
  std::shared_ptr<simulator::Mark> mark;
};
struct CUgraph_st {
  std::vector<simulator::Task> tasks;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<simulator::Task>> tasks;
};
