// What a device must offer before any operation runs on it: memory and copies. tensor/cpu/backend.cpp
// registers the CPU's, as tensor/cuda/backend.cu does in a build with CUDA; `backend(device)` answers with
// the reason where a device is missing.
#pragma once
#include <cstddef>
#include <string>

#include "tensor/device.h"

namespace vitral {

struct Backend {
  void* (*allocate)(std::size_t bytes, int index);  // nullptr when out of memory
  void (*release)(void* data, int index);
  void (*copy)(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes);
  void (*zero)(void* data, std::size_t bytes, int index);
  int (*device_count)(std::string* why_none);  // fills `why_none` when 0
};

/// UsageError for a device without a backend: "cuda: this vitral was built without CUDA; ...", or where a
/// tensor is made during static initialisation, before the CPU has registered itself.
const Backend& backend(Device::Kind kind);
bool has_backend(Device::Kind kind);
bool register_backend(Device::Kind kind, const Backend& backend);

}  // namespace vitral
