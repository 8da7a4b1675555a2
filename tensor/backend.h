// What a device must offer before any operation runs on it: memory, copies and, where it works beside the
// host, waiting for it. tensor/cpu/backend.cpp registers the CPU's, as tensor/cuda/backend.cu does when the
// module vitral_cuda is loaded (tensor/device.cpp); `backend(device)` loads it, and answers with the reason
// where a device is missing.
//
// Everything that a GPU does for vitral is queued on one of two queues (tensor/stream.h): all kernels on
// `compute`, in the order of the program, so that memory may be used again as soon as it is given back.
#pragma once
#include <cstddef>
#include <string>

#include "tensor/device.h"
#include "tensor/stream.h"

namespace vitral {

struct Backend {
  void* (*allocate)(std::size_t bytes, int index);  // nullptr when out of memory
  void (*release)(void* data, int index);
  /// Queued on `compute`, between devices or on one. Where one side is the host's, returns when it is done.
  void (*copy)(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes);
  void (*zero)(void* data, std::size_t bytes, int index);
  int (*device_count)(std::string* why_none);  // fills `why_none` (where given) when 0
  std::string (*name)(int index);              // of the processor, for people

  // The rest is null where the device computes while the caller waits.
  /// What multiplies there: the device and the library, as choices of algorithms name it
  /// (tensor/ops/products.h).
  std::string (*multiplier)(int index) = nullptr;
  void (*memory)(int index, std::size_t* total, std::size_t* free) = nullptr;
  /// Host memory that copy_async may read and write while the host goes on.
  void* (*allocate_pinned)(std::size_t bytes, int index) = nullptr;  // nullptr when out of memory
  void (*release_pinned)(void* data, int index) = nullptr;
  void (*copy_async)(void* to, const void* from, std::size_t bytes, int index, Queue queue) = nullptr;
  void (*synchronize)(int index) = nullptr;  // waits until all queues are empty

  void* (*make_event)(int index) = nullptr;
  void (*destroy_event)(void* event) = nullptr;
  void (*record_event)(void* event, int index, Queue queue) = nullptr;
  void (*hold_queue)(void* event, int index, Queue queue) = nullptr;
  bool (*event_done)(void* event) = nullptr;
  void (*wait_event)(void* event) = nullptr;
  double (*seconds_between)(void* start, void* end) = nullptr;

  void (*begin_capture)(int index) = nullptr;
  void* (*end_capture)(int index, bool keep) = nullptr;  // keep: false throws the recording away
  void (*launch_graph)(void* graph, int index) = nullptr;
  void (*destroy_graph)(void* graph) = nullptr;

  // Between processes; tensor/collective.h has the contract. Queued on `compute`.
  std::string (*collective_id)() = nullptr;
  void* (*open_collective)(int index, int rank, int size, const std::string& id) = nullptr;
  void (*close_collective)(void* collective) = nullptr;
  void (*all_to_all)(void* collective, void* to, const void* from, std::size_t bytes_each) = nullptr;
  void (*all_gather)(void* collective, void* to, const void* from, std::size_t bytes_each) = nullptr;
};

/// UsageError for a device without a backend: "cuda: this machine has no NVIDIA driver; ...", or where a
/// tensor is made during static initialisation, before the CPU has registered itself.
const Backend& backend(Device::Kind kind);
/// Whether it has been loaded. (gpu_count(), tensor/device.h, loads it.)
bool has_backend(Device::Kind kind);
bool register_backend(Device::Kind kind, const Backend& backend);

}  // namespace vitral
