#include "tensor/device.h"

#include <array>
#include <atomic>
#include <charconv>

#include "base/error.h"
#include "tensor/backend.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace vitral {
namespace {

// Backends register themselves while statics are initialised, in an order that C++ leaves open: a static
// Tensor may come before the one that its memory is from.
constinit std::array<const Backend*, 2> backends{};

std::atomic<int> preferred = 0;

std::string why_no_cuda() {
  if (!has_backend(Device::Kind::cuda)) return "this vitral was built without CUDA";
  std::string why;
  backend(Device::Kind::cuda).device_count(&why);
  return why;
}

}  // namespace

bool has_backend(Device::Kind kind) { return backends[static_cast<std::size_t>(kind)] != nullptr; }

bool register_backend(Device::Kind kind, const Backend& backend) {
  backends[static_cast<std::size_t>(kind)] = &backend;
  return true;
}

const Backend& backend(Device::Kind kind) {
  const Backend* b = backends[static_cast<std::size_t>(kind)];
  if (!b && kind == Device::Kind::cpu)
    throw UsageError(
        "tensor: made before main(), when the CPU is not registered yet; make it inside a function");
  if (!b) throw UsageError("cuda: " + why_no_cuda() + "; use --device cpu");
  return *b;
}

void prefer_gpu(int index) { preferred = index; }
int preferred_gpu() { return preferred; }

Device parse_device(std::string_view text, std::string* why_cpu) {
  if (text == "cpu") return cpu;
  const int gpus = has_backend(Device::Kind::cuda) ? backend(Device::Kind::cuda).device_count(nullptr) : 0;
  if (text == "auto") {
    if (gpus > 0) return parse_device("cuda");
    if (why_cpu) *why_cpu = why_no_cuda();
    return cpu;
  }
  int index = gpus > 0 ? preferred % gpus : 0;
  bool valid = text == "cuda";
  if (text.starts_with("cuda:")) {
    const char* end = text.data() + text.size();
    const auto [rest, problem] = std::from_chars(text.data() + 5, end, index);
    valid = problem == std::errc{} && rest == end && index >= 0;
  }
  VITRAL_CHECK(valid, "device: '{}' is unknown, choose cpu, cuda, cuda:N or auto", text);
  if (gpus == 0)
    throw UsageError("device " + std::string(text) + ": " + why_no_cuda() + "; use --device cpu");
  VITRAL_CHECK(index < gpus, "device {}: this machine has {} GPU(s), numbered from 0", text, gpus);
  preferred = index;
  return {Device::Kind::cuda, index};
}

int cpu_threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

}  // namespace vitral
