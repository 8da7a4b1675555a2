// Copies from global to shared memory that go past the registers and wait for nothing (cp.async), so that a
// block has its whole tile under way at once.
#pragma once
#include "tensor/cuda/device.h"

namespace vitral::cuda {

/// Starts to copy n numbers. Both addresses must be multiples of their size; other sizes than 4, 8 and 16
/// bytes are copied at once.
template <int n, class T>
__device__ __forceinline__ void start_copy(T* shared, const T* global) {
#ifdef __CUDACC__
  constexpr int bytes = n * static_cast<int>(sizeof(T));
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
    return;
  } else if constexpr (bytes == 8 || bytes == 4) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(global), "n"(bytes) : "memory");
    return;
  }
#endif
  store_pack(shared, load_pack<n>(global));
}

/// Waits for the copies that this thread started; a barrier makes them known to the others.
__device__ __forceinline__ void wait_for_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

/// The places of a table of `columns` columns that a thread of the block visits, row after row, without a
/// division a place:   for (Walk at(columns); at.row < rows; at.step()) ... at.row, at.column
class Walk {
 public:
  __device__ explicit Walk(int columns)
      : row(static_cast<int>(threadIdx.x) / columns),
        column(static_cast<int>(threadIdx.x) - row * columns),
        columns_(columns),
        rows_(static_cast<int>(blockDim.x) / columns),
        rest_(static_cast<int>(blockDim.x) - rows_ * columns) {}
  __device__ void step() {
    row += rows_;
    column += rest_;
    if (column >= columns_) {
      column -= columns_;
      ++row;
    }
  }

  int row, column;

 private:
  int columns_, rows_, rest_;
};

}  // namespace vitral::cuda
