#include "tensor/device.h"

#include <array>
#include <atomic>
#include <charconv>

#include <dlfcn.h>

#include "base/error.h"
#include "tensor/backend.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace vitral {
namespace {

// Backends register themselves while statics are initialised, in an order that C++ leaves open: a static
// Tensor may come before the one that its memory is from.
constinit std::array<std::atomic<const Backend*>, 2> backends{};

std::atomic<int> preferred = 0;

// The module's kernels register themselves while it is loaded. Why it was not, or "".
std::string load_cuda() {
  if (has_backend(Device::Kind::cuda)) return "";  // linked with this program: the simulator of the tests
  if (!::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL)) return "this machine has no NVIDIA driver";
  if (!::dlopen("libvitral_cuda.so", RTLD_NOW | RTLD_LOCAL))
    return fmt::format("this vitral was built without CUDA, or its module cannot be loaded ({})",
                       ::dlerror());
  return "";
}

// Who else asks for a GPU meanwhile waits until all kernels are there.
const std::string& cuda_problem() {
  static const std::string problem = load_cuda();
  return problem;
}

}  // namespace

bool has_backend(Device::Kind kind) { return backends[static_cast<std::size_t>(kind)] != nullptr; }

int gpu_count(std::string* why_none) {
  const std::string& problem = cuda_problem();
  if (problem.empty()) return backend(Device::Kind::cuda).device_count(why_none);
  if (why_none) *why_none = problem;
  return 0;
}

bool register_backend(Device::Kind kind, const Backend& backend) {
  backends[static_cast<std::size_t>(kind)] = &backend;
  return true;
}

const Backend& backend(Device::Kind kind) {
  if (kind == Device::Kind::cuda && !cuda_problem().empty())
    throw UsageError("cuda: " + cuda_problem() + "; use --device cpu");
  const Backend* b = backends[static_cast<std::size_t>(kind)];
  if (!b)
    throw UsageError(
        "tensor: made before main(), when the CPU is not registered yet; make it inside a function");
  return *b;
}

void prefer_gpu(int index) { preferred = index; }
int preferred_gpu() { return preferred; }

Device parse_device(std::string_view text, std::string* why_cpu) {
  if (text == "cpu") return cpu;
  int index = -1;
  bool valid = text == "cuda" || text == "auto";
  if (text.starts_with("cuda:")) {
    const char* end = text.data() + text.size();
    const auto [rest, problem] = std::from_chars(text.data() + 5, end, index);
    valid = problem == std::errc{} && rest == end && index >= 0;
  }
  VITRAL_CHECK(valid, "device: '{}' is unknown, choose cpu, cuda, cuda:N or auto", text);
  std::string why;
  const int gpus = gpu_count(&why);
  if (gpus == 0 && text == "auto") {
    if (why_cpu) *why_cpu = why;
    return cpu;
  }
  VITRAL_CHECK(gpus > 0, "device {}: {}; use --device cpu", text, why);
  if (index < 0) index = preferred % gpus;
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
