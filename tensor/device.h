// Where a tensor lives.
#pragma once
#include <string>
#include <string_view>

namespace vitral {

struct Device {
  enum class Kind : unsigned char { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;

  bool is_cpu() const { return kind == Kind::cpu; }
  bool operator==(const Device&) const = default;
  std::string str() const { return is_cpu() ? "cpu" : "cuda:" + std::to_string(index); }
};

inline constexpr Device cpu{};

/// How many GPUs there are to compute on. The first call that asks for one, here, in parse_device() or by a
/// tensor on it, loads the module vitral_cuda, and that only where a driver is installed: who computes on the
/// CPU pays nothing for CUDA. `why_none`, where given, is filled where there are none.
int gpu_count(std::string* why_none = nullptr);

/// The GPU that this process means by `cuda`: 0, or of several processes on a machine each its own, modulo
/// the number of GPUs. Pinned memory is made for it.
void prefer_gpu(int index);
int preferred_gpu();

/// Parses cpu | cuda | cuda:N | auto. `auto` takes the preferred GPU, or the CPU where there is none; a GPU
/// that is named becomes the preferred one.
/// Throws UsageError for an unknown name, and for cuda where this build or this machine has none. `why_cpu`,
/// where given, is filled with the reason for which `auto` took the CPU.
Device parse_device(std::string_view text, std::string* why_cpu = nullptr);

/// Threads that CPU kernels use (OpenMP).
int cpu_threads();

}  // namespace vitral
