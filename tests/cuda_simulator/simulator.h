// CUDA on the CPU, for tests: what the stand-ins of CUDA's headers and tests of the simulator itself use.
// See README.md.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "vectors.h"

using cudaStream_t = struct CUstream_st*;

namespace simulator {

/// In which order the threads of a block run between two barriers, and streams between two waits.
enum class Order : unsigned char { forward, reverse, random };

/// Read from the environment (VITRAL_SIMULATOR_...) at first use; tests may change them.
struct Settings {
  Order order = Order::forward;  // ORDER=forward|reverse|random|random:SEED
  unsigned seed = 1;
  bool eager = false;                   // EAGER=1: queued work runs at once
  bool dry = false;                     // DRY=1: nothing is computed or copied, only memory is counted
  bool protect = false;                 // PROTECT=1: hosts that touch device memory end with a message
  bool no_epilogues = false;            // NO_EPILOGUES=1: cuBLASLt adds no bias and sums none
  std::size_t memory = 80'000'000'000;  // MEMORY=BYTES of each device
  int devices = 1;                      // DEVICES=N
  std::vector<int> capabilities{
      90};  // CAPABILITY=9.0[,8.0...]: of the devices in turn, the last of the others
  // cuBLASLt's products take 1 s on the devices' clock with this tile (cublasLtMatmulTile_t), 2 s with
  // others, and 0.1 s more for each part of K that split K is away from fastest_split; 0: as long as they
  // take.
  int fastest_tile = 0, fastest_split = 1;
  // CUDNN=91900: its version, as cudnnGetVersion() says it; 0: it is missing. Its products with an activation
  // take that many seconds on the devices' clock, 0: as long as they take.
  std::int64_t cudnn = 0;
  double fused_seconds = 0;

  /// 90 where it is 9.0.
  int capability_of(int device) const {
    return capabilities[std::min(static_cast<std::size_t>(device), capabilities.size() - 1)];
  }
};
Settings& settings();

/// How many products cuBLASLt was asked for, and how many of them with the gradient of a bias; how many cuDNN
/// with an activation. Tests may set it back.
struct Counts {
  std::atomic<std::size_t> products = 0, bias_gradients = 0, fused = 0;
};
Counts& counts();

struct Kernel {
  std::string name;  // for messages
  const void* function;
  dim3 grid, block;
  std::size_t shared;
  std::function<void()> body;  // one thread
};
/// Queues the kernel, or sets the error that cudaGetLastError gives.
void launch(Kernel kernel, cudaStream_t stream);

/// kernel<<<grid, block, shared, stream>>>(arguments...); the name is for messages.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared,
            cudaStream_t stream, A&&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has parameters");
  launch({name, reinterpret_cast<const void*>(kernel), grid, block, shared,
          [kernel, parameters = std::tuple<std::decay_t<P>...>(std::forward<A>(arguments)...)] {
            std::apply(kernel, parameters);
          }},
         stream);
}
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream,
            A&&... arguments) {
  launch("kernel", kernel, grid, block, shared, stream, std::forward<A>(arguments)...);
}

// --- for code that runs on the simulated device ---

/// The block's dynamic shared memory, aligned to 128 bytes; null where the launch asked for none.
void* dynamic_shared();
/// Ends the program where dynamic shared memory leaves no byte for what is __shared__ besides.
void has_static_shared();

/// Says what happened and in which thread, and ends the program.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

/// A line of a kernel. (Not std::source_location, which clang 14 and its tools do not know.)
struct Place {
  const char* file = "";
  int line = 0;
};
void barrier(Place where);
/// Barriers that tell every thread of how many the condition holds.
int counting_barrier(bool condition, Place where);

constexpr int lanes = 32;
unsigned lane();

/// The largest thing that lanes exchange.
struct alignas(16) Slot {
  unsigned char bytes[16];
};
/// Waits for all lanes in `mask`; gives what lane `source` brought.
Slot exchange(unsigned mask, const Slot& value, unsigned source, const char* operation, Place where);
/// Waits for all lanes in `mask`; the lanes among them for which the condition holds.
unsigned ballot(unsigned mask, bool condition, const char* operation, Place where);
/// The lanes in `mask` that the warp has.
unsigned present(unsigned mask);

template <class T>
T exchange(unsigned mask, const T& value, unsigned source, const char* operation, Place where) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(Slot));
  Slot slot{};
  std::memcpy(slot.bytes, &value, sizeof(T));
  slot = exchange(mask, slot, source, operation, where);
  T result = value;
  std::memcpy(static_cast<void*>(&result), slot.bytes, sizeof(T));
  return result;
}

}  // namespace simulator
