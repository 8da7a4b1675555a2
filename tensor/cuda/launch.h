// What every CUDA source needs: streams of a device, checked calls, launches, and dispatch on element types.
// Kernels run on the device's compute stream only; none waits for the device.
#pragma once
#include <cstdint>
#include <source_location>
#include <type_traits>
#include <utility>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace vitral::cuda {

using bfloat16 = __nv_bfloat16;

/// Makes the device the thread's current one and gives its stream.
cudaStream_t stream(Device device, Queue queue = Queue::compute);

struct DeviceLimits {
  int multiprocessors = 0;
  int shared_memory = 0;  // bytes that a block may ask for
  int major = 0, minor = 0;
};
const DeviceLimits& limits(Device device);

/// Error "OPERATION: WHAT CUDA SAYS (FILE:LINE); WHAT TO DO" unless the status is a success.
void check(cudaError_t status, const char* operation,
           const std::source_location& where = std::source_location::current());

/// Where and how a kernel runs; the place of the launch is remembered for errors.
struct Launch {
  Launch(const char* operation_name, Device on, dim3 blocks, dim3 threads, std::size_t shared_bytes = 0,
         const std::source_location& place = std::source_location::current())
      : operation(operation_name),
        device(on),
        grid(blocks),
        block(threads),
        shared(shared_bytes),
        where(place) {}
  const char* operation;
  Device device;
  dim3 grid, block;
  std::size_t shared;
  std::source_location where;
};

/// Queues kernel(arguments...). Nothing happens where the grid is empty.
///   launch({"softmax", x.device(), rows, 32}, softmax_rows<T>, y.data<T>(), ...);
template <class... P, class... A>
void launch(const Launch& l, void (*kernel)(P...), A&&... arguments) {
  if (l.grid.x == 0 || l.grid.y == 0 || l.grid.z == 0) return;
  const cudaStream_t s = stream(l.device);
  if (l.shared > 48 * 1024) {
    const auto set = [&](cudaFuncAttribute attribute, int value) {
      check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value), l.operation,
            l.where);
    };
    set(cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(l.shared));
    // As many such blocks a multiprocessor as fit: all that can be is shared memory, the rest of it the
    // cache.
    set(cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  }
#ifdef __CUDACC__
  kernel<<<l.grid, l.block, l.shared, s>>>(std::forward<A>(arguments)...);
#else
  simulator::launch(l.operation, kernel, l.grid, l.block, l.shared, s, std::forward<A>(arguments)...);
#endif
  check(cudaGetLastError(), l.operation, l.where);
}

/// The C++ type on the device of a dtype, and what it is computed in.
template <class T>
struct accumulate {
  using type = T;
};
template <>
struct accumulate<bfloat16> {
  using type = float;
};
template <class T>
using acc_t = typename accumulate<T>::type;

/// The tensor's memory as numbers of T, null where it is undefined. UsageError where T is a floating type and
/// not that of the dtype; other types (bytes, units of a copy) see any.
template <class T>
T* data(const Tensor& t) {
  using Element = std::remove_const_t<T>;
  if (!t.defined()) return nullptr;
  if constexpr (std::is_same_v<Element, bfloat16>)
    VITRAL_CHECK(t.dtype() == DType::bfloat16, "cuda: asked for bfloat16 data of a {} tensor",
                 name(t.dtype()));
  else if constexpr (std::is_floating_point_v<Element>)
    t.data<Element>();
  return static_cast<T*>(t.raw());
}

/// Calls f with a value of the device's type for float32, float64 or bfloat16; UsageError for another dtype.
///   dispatch("softmax", x.dtype(), [&]<class T>(T) { ... });
template <class F>
decltype(auto) dispatch(const char* operation, DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(float{});
    case DType::float64:
      return f(double{});
    case DType::bfloat16:
      return f(bfloat16{});
    default:
      throw_error<UsageError>("{}: dtype {} is not supported, use float32, float64 or bfloat16", operation,
                              name(dtype));
  }
}

/// Blocks of `per_block` that cover n.
inline unsigned blocks_for(std::int64_t n, std::int64_t per_block) {
  return static_cast<unsigned>((n + per_block - 1) / per_block);
}

}  // namespace vitral::cuda
