// Settings, errors, devices, and launches.
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>

#include "block.h"
#include "runtime.h"

namespace simulator {
namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local int device_in_use = 0;

const char* variable(const char* name) {
  return std::getenv((std::string("VITRAL_SIMULATOR_") + name).c_str());
}

bool is_set(const char* name) {
  const char* value = variable(name);
  return value && *value && std::string_view(value) != "0";
}

// 9.0,8.0
std::vector<int> capabilities_in(const std::string& text) {
  std::vector<int> all;
  std::istringstream list(text);
  for (std::string one; std::getline(list, one, ',');) {
    int major = 0, minor = 0;
    if (std::sscanf(one.c_str(), "%d.%d", &major, &minor) != 2)
      fail("VITRAL_SIMULATOR_CAPABILITY=%s: name compute capabilities, such as 9.0 or 9.0,8.0", text.c_str());
    all.push_back(10 * major + minor);
  }
  return all.empty() ? Settings().capabilities : all;
}

Settings from_environment() {
  Settings s;
  if (const char* value = variable("ORDER")) {
    const std::string_view order = value;
    if (order == "reverse")
      s.order = Order::reverse;
    else if (order.substr(0, 6) == "random")
      s.order = Order::random;
    else if (order != "forward")
      fail("VITRAL_SIMULATOR_ORDER=%s: choose forward, reverse, random or random:SEED", value);
    if (order.substr(0, 7) == "random:") s.seed = static_cast<unsigned>(std::strtoul(value + 7, nullptr, 10));
  }
  s.eager = is_set("EAGER");
  s.dry = is_set("DRY");
  s.protect = is_set("PROTECT");
  s.no_epilogues = is_set("NO_EPILOGUES");
  if (const char* value = variable("MEMORY")) s.memory = std::strtoull(value, nullptr, 10);
  if (const char* value = variable("DEVICES")) s.devices = std::atoi(value);
  if (const char* value = variable("CUDNN")) s.cudnn = std::atoll(value);
  if (const char* value = variable("CAPABILITY")) s.capabilities = capabilities_in(value);
  return s;
}

Runtime& runtime() {
  static auto* state = new Runtime;  // kept: static tensors may give memory back until the very end
  return *state;
}

// As the hardware sees it: cudaErrorInvalidConfiguration for the shape, cudaErrorInvalidValue for memory.
cudaError_t check(const Kernel& k, std::size_t shared_limit) {
  const auto threads = std::size_t{k.block.x} * k.block.y * k.block.z;
  if (threads == 0 || threads > 1024 || k.block.z > 64 || k.grid.x == 0 || k.grid.y == 0 || k.grid.z == 0 ||
      k.grid.x > 0x7FFFFFFFU || k.grid.y > 65535 || k.grid.z > 65535)
    return cudaErrorInvalidConfiguration;
  return k.shared > shared_limit ? cudaErrorInvalidValue : cudaSuccess;
}

}  // namespace

Settings& settings() {
  static Settings all = from_environment();
  return all;
}

Counts& counts() {
  static Counts all;
  return all;
}

Locked::Locked() : lock_(runtime().mutex) {}
Runtime* Locked::operator->() const { return &runtime(); }

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

int current_device() { return device_in_use; }

void launch(Kernel kernel, cudaStream_t stream) {
  const Locked state;
  const auto limit = state->shared_limits.find(kernel.function);
  cudaError_t error = check(kernel, limit == state->shared_limits.end() ? default_shared : limit->second);
  if (error == cudaSuccess && !settings().dry)
    error = push(stream, [kernel = std::move(kernel)] { run(kernel); });
  report(error);
}

}  // namespace simulator

using namespace simulator;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define SIMULATOR_NAME(name, number, text) \
  case name:                               \
    return #name;
    SIMULATOR_ERRORS(SIMULATOR_NAME)
#undef SIMULATOR_NAME
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
#define SIMULATOR_TEXT(name, number, text) \
  case name:                               \
    return text;
    SIMULATOR_ERRORS(SIMULATOR_TEXT)
#undef SIMULATOR_TEXT
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

// --- devices: numbers of an H200, whatever their compute capability ---

cudaError_t cudaGetDeviceCount(int* count) {
  *count = settings().devices;
  return report(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= settings().devices) return report(cudaErrorInvalidDevice);
  device_in_use = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = device_in_use;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device < 0 || device >= settings().devices) return report(cudaErrorInvalidDevice);
  *p = {};
  const int capability = settings().capability_of(device);
  if (capability == 90)
    std::snprintf(p->name, sizeof p->name, "NVIDIA H200 (simulated)");
  else
    std::snprintf(p->name, sizeof p->name, "GPU of compute capability %d.%d (simulated)", capability / 10,
                  capability % 10);
  p->totalGlobalMem = settings().memory;
  p->sharedMemPerBlock = default_shared;
  p->sharedMemPerBlockOptin = most_shared;
  p->sharedMemPerMultiprocessor = most_shared + 1024;
  p->regsPerBlock = 65536;
  p->warpSize = lanes;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = 2048;
  p->multiProcessorCount = 132;
  p->major = capability / 10;
  p->minor = capability % 10;
  p->l2CacheSize = 50 << 20;
  p->memoryBusWidth = 6144;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  const cudaError_t error = cudaGetDeviceProperties(&p, device);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      return cudaSuccess;
    case cudaDevAttrMaxRegistersPerBlock:
      *value = p.regsPerBlock;
      return cudaSuccess;
    case cudaDevAttrClockRate:
      *value = 1'980'000;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrMemoryClockRate:
      *value = 3'201'000;
      return cudaSuccess;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = p.memoryBusWidth;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      return cudaSuccess;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = 1024;
      return cudaSuccess;
  }
  return report(cudaErrorInvalidValue);
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

// --- functions ---

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  if (value < 0 || static_cast<std::size_t>(value) > most_shared) return report(cudaErrorInvalidValue);
  const Locked state;
  state->shared_limits[function] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int block_size,
                                                          std::size_t shared) {
  if (block_size < 1 || block_size > 1024) return report(cudaErrorInvalidValue);
  const int warps = (block_size + lanes - 1) / lanes;
  const auto by_shared = static_cast<int>((most_shared + 1024) / (shared + 1024));
  *blocks = shared > most_shared ? 0 : std::min({32, 2048 / lanes / warps, by_shared});
  return cudaSuccess;
}
