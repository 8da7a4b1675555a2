// Memory, streams, events and graphs of CUDA devices.
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tensor/backend.h"
#include "tensor/cuda/collective.h"
#include "tensor/cuda/launch.h"
#include "tensor/cuda/matmul/cublas_lt.h"
#include "tensor/cuda/matmul/matmul.h"

namespace vitral {
namespace cuda {
namespace {

struct Context {
  cudaStream_t compute = nullptr, copy = nullptr;
  DeviceLimits limits;

  // While a graph is recorded nobody may wait for the device, as who gives memory back does.
  std::mutex mutex;
  bool recording = false;
  std::vector<void*> given_back{};  // meanwhile
};

// The thread's current device, which every change must go through: CUDA is asked only where it changes.
thread_local int current = -1;

cudaError_t make_current(int index) {
  if (current == index) return cudaSuccess;
  const cudaError_t status = cudaSetDevice(index);
  current = status == cudaSuccess ? index : -1;
  return status;
}

void start(Context& c, int index) {
  check(make_current(index), "cuda");
  check(cudaStreamCreateWithFlags(&c.compute, cudaStreamNonBlocking), "cuda");
  check(cudaStreamCreateWithFlags(&c.copy, cudaStreamNonBlocking), "cuda");
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, index), "cuda");
    return value;
  };
  c.limits = {.multiprocessors = attribute(cudaDevAttrMultiProcessorCount),
              .shared_memory = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
              .major = attribute(cudaDevAttrComputeCapabilityMajor),
              .minor = attribute(cudaDevAttrComputeCapabilityMinor)};
}

// Made at first use and kept to the end of the process, as tensors in static storage may be.
Context& context(int index) {
  static auto* mutex = new std::mutex;
  static auto* contexts = new std::vector<std::unique_ptr<Context>>;
  const std::lock_guard lock(*mutex);
  if (contexts->size() <= static_cast<std::size_t>(index))
    contexts->resize(static_cast<std::size_t>(index) + 1);
  auto& c = (*contexts)[static_cast<std::size_t>(index)];
  if (!c) {
    auto made = std::make_unique<Context>();
    start(*made, index);
    c = std::move(made);
  }
  return *c;
}

#ifdef __CUDACC__
constexpr int compiled_for[]{__CUDA_ARCH_LIST__};  // 800: compute capability 8.0
#else
constexpr int compiled_for[]{900};  // the simulator
#endif

[[noreturn]] void throw_no_code(int index) {
  int major = 0, minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index);
  std::string capabilities;
  for (const int c : compiled_for)
    capabilities +=
        (capabilities.empty() ? "" : ", ") + std::to_string(c / 100) + '.' + std::to_string(c / 10 % 10);
  throw_error<UsageError>(
      "cuda:{}: of compute capability {}.{}, and this vitral was built for {}; build it with "
      "-Dgpu_architectures={}{}-real",
      index, major, minor, capabilities, major, minor);
}

}  // namespace

cudaStream_t stream(Device device, Queue queue) {
  const Context& c = context(device.index);
  check(make_current(device.index), "cuda");
  return queue == Queue::compute ? c.compute : c.copy;
}

const DeviceLimits& limits(Device device) { return context(device.index).limits; }

void check(cudaError_t status, const char* operation, const std::source_location& where) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // it is told here: the next launch must not find it
  if (status == cudaErrorNoKernelImageForDevice) throw_no_code(current);
  const char* file = std::strstr(where.file_name(), "tensor/");
  throw_error("{}: {} ({}, {}:{}); CUDA_LAUNCH_BLOCKING=1 shows which operation failed", operation,
              cudaGetErrorString(status), cudaGetErrorName(status), file ? file : where.file_name(),
              where.line());
}

namespace {

void* allocate(std::size_t bytes, int index) {
  stream({Device::Kind::cuda, index});
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is told by the result
    return nullptr;
  }
  check(status, "allocate");
  return data;
}

// Work that was queued may still use it. Errors are the business of whoever queued that work; and nothing can
// be done where the process ends and CUDA is gone already.
void release(void* data, int index) {
  Context& c = context(index);
  const std::lock_guard lock(c.mutex);
  if (c.recording) {
    c.given_back.push_back(data);
    return;
  }
  if (make_current(index) == cudaSuccess) {
    cudaDeviceSynchronize();
    cudaFree(data);
  }
  cudaGetLastError();
}

void memory(int index, std::size_t* total, std::size_t* free) {
  stream({Device::Kind::cuda, index});
  check(cudaMemGetInfo(free, total), "memory");
}

void copy(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes) {
  const bool host = to_device.is_cpu() || from_device.is_cpu();
  const bool between = !host && to_device != from_device;  // two queues, of which neither knows the other
  if (between) check(cudaStreamSynchronize(stream(from_device)), "copy");
  const cudaStream_t s = stream(to_device.is_cpu() ? from_device : to_device);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, s), "copy");
  if (host || between) check(cudaStreamSynchronize(s), "copy");
}

void zero(void* data, std::size_t bytes, int index) {
  if (bytes > 0) check(cudaMemsetAsync(data, 0, bytes, stream({Device::Kind::cuda, index})), "zero");
}

int device_count(std::string* why_none) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();
    count = 0;
  }
  if (count > 0) {
    try {
      cublas_lt();  // without products there is nothing to compute
      return count;
    } catch (const Error& e) {
      if (why_none) *why_none = e.what();
      return 0;
    }
  }
  if (!why_none) return 0;
  int driver = 0;  // 0: none is installed
  if (status == cudaErrorInsufficientDriver) cudaDriverGetVersion(&driver);
  if (status == cudaSuccess || status == cudaErrorNoDevice)
    *why_none = "this machine has no NVIDIA GPU that CUDA can use";
  else if (status == cudaErrorInsufficientDriver && driver == 0)
    *why_none = "this machine has no NVIDIA driver";
  else
    *why_none = std::string("CUDA does not start: ") + cudaGetErrorString(status);
  return count;
}

std::string name(int index) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "cuda");
  return properties.name;
}

// By the device that will copy from it: any other's context would take memory there, which may be another
// process's. Portable: all devices may.
void* allocate_pinned(std::size_t bytes, int index) {
  stream({Device::Kind::cuda, index});
  void* data = nullptr;
  const cudaError_t status = cudaHostAlloc(&data, bytes, cudaHostAllocPortable);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "allocate_pinned");
  return data;
}

void release_pinned(void* data, int index) {
  if (make_current(index) == cudaSuccess) cudaFreeHost(data);
}

void copy_async(void* to, const void* from, std::size_t bytes, int index, Queue queue) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream({Device::Kind::cuda, index}, queue)),
        "copy");
}

void synchronize(int index) {
  stream({Device::Kind::cuda, index});
  check(cudaDeviceSynchronize(), "synchronize");
}

cudaEvent_t as_event(void* event) { return static_cast<cudaEvent_t>(event); }

void* make_event(int index) {
  stream({Device::Kind::cuda, index});
  cudaEvent_t event = nullptr;
  // Who waits sleeps: the cores are for the loader's threads.
  check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync), "event");
  return event;
}

void destroy_event(void* event) { cudaEventDestroy(as_event(event)); }

void record_event(void* event, int index, Queue queue) {
  check(cudaEventRecord(as_event(event), stream({Device::Kind::cuda, index}, queue)), "event");
}

void hold_queue(void* event, int index, Queue queue) {
  check(cudaStreamWaitEvent(stream({Device::Kind::cuda, index}, queue), as_event(event), 0), "event");
}

bool event_done(void* event) {
  const cudaError_t status = cudaEventQuery(as_event(event));
  if (status == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check(status, "event");
  return true;
}

void wait_event(void* event) { check(cudaEventSynchronize(as_event(event)), "event"); }

double seconds_between(void* start, void* end) {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, as_event(start), as_event(end)), "event");
  return static_cast<double>(milliseconds) / 1e3;
}

// Relaxed: memory may be allocated while recording, and other threads go on with their own work.
void begin_capture(int index) {
  Context& c = context(index);
  const std::lock_guard lock(c.mutex);
  check(cudaStreamBeginCapture(stream({Device::Kind::cuda, index}), cudaStreamCaptureModeRelaxed), "graph");
  c.recording = true;
}

// What was given back meanwhile is free from here on.
cudaError_t end_recording(int index, cudaGraph_t* graph) {
  Context& c = context(index);
  std::vector<void*> given_back;
  cudaError_t status = cudaSuccess;
  {
    const std::lock_guard lock(c.mutex);
    status = cudaStreamEndCapture(stream({Device::Kind::cuda, index}), graph);
    c.recording = false;
    given_back.swap(c.given_back);
  }
  for (void* data : given_back) release(data, index);
  return status;
}

void* end_capture(int index, bool keep) {
  cudaGraph_t graph = nullptr;
  const cudaError_t status = end_recording(index, &graph);
  if (!keep) {
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    return nullptr;
  }
  check(status, "graph");
  cudaGraphExec_t ready = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&ready, graph, 0);
  cudaGraphDestroy(graph);
  check(made, "graph");
  return ready;
}

void launch_graph(void* graph, int index) {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream({Device::Kind::cuda, index})), "graph");
}

void destroy_graph(void* graph) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

constexpr Backend cuda_backend{.allocate = allocate,
                               .release = release,
                               .copy = copy,
                               .zero = zero,
                               .device_count = device_count,
                               .name = name,
                               .multiplier = multiplier,
                               .memory = memory,
                               .allocate_pinned = allocate_pinned,
                               .release_pinned = release_pinned,
                               .copy_async = copy_async,
                               .synchronize = synchronize,
                               .make_event = make_event,
                               .destroy_event = destroy_event,
                               .record_event = record_event,
                               .hold_queue = hold_queue,
                               .event_done = event_done,
                               .wait_event = wait_event,
                               .seconds_between = seconds_between,
                               .begin_capture = begin_capture,
                               .end_capture = end_capture,
                               .launch_graph = launch_graph,
                               .destroy_graph = destroy_graph,
                               .collective_id = collective_id,
                               .open_collective = open_collective,
                               .close_collective = close_collective,
                               .all_to_all = all_to_all,
                               .all_gather = all_gather};
const bool registered = register_backend(Device::Kind::cuda, cuda_backend);

}  // namespace
}  // namespace cuda
}  // namespace vitral
