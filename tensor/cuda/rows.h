// Rows spread over threads: a warp takes a row of up to 1024 numbers and keeps it in registers, so that it is
// read once however often it is looked at; a block takes a longer one and reads it again from the caches.
// Neighbouring lanes hold neighbouring numbers, whatever the width and the alignment of the rows.
#pragma once
#include "tensor/cuda/device.h"

namespace vitral::cuda {

constexpr int row_threads = 256;
constexpr int row_warps = row_threads / warp_size;
constexpr std::int64_t longest_warp_row = 1024;

/// A row in the registers of a warp: the lane's numbers, and `outside` behind the end of the row.
template <class T, int items>
struct WarpRow {
  acc_t<T> v[items];

  __device__ __forceinline__ WarpRow(const T* row, int width, acc_t<T> outside = 0) {
#pragma unroll
    for (int k = 0; k < items; ++k) v[k] = index(k) < width ? load(row[index(k)]) : outside;
  }
  __device__ __forceinline__ void write(T* row, int width) const {
#pragma unroll
    for (int k = 0; k < items; ++k)
      if (index(k) < width) row[index(k)] = store<T>(v[k]);
  }
  __device__ static int index(int k) { return static_cast<int>(threadIdx.x) % warp_size + k * warp_size; }
};

/// The row of this warp.
__device__ __forceinline__ std::int64_t warp_row() {
  return static_cast<std::int64_t>(blockIdx.x) * row_warps + threadIdx.x / warp_size;
}

template <class A>
__device__ __forceinline__ A block_max(A x, A* scratch) {
  const unsigned lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  x = warp_max(x);
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  x = warp_max(scratch[lane % row_warps]);
  __syncthreads();  // scratch may be used again at once
  return x;
}

/// How a row is taken: by a warp with so many numbers a lane, by a block where items is 0.
template <class T, int items>
struct RowKind {};

/// Calls f(RowKind<T, items>, launch, rows, width) for the rows of x, its last dimension.
template <class F>
void for_rows(const char* operation, const Tensor& x, F&& f) {
  if (x.numel() == 0) return;
  const std::int64_t width = x.dim(-1), rows = x.numel() / width;
  dispatch(operation, x.dtype(), [&]<class T>(T) {
    const auto run = [&]<int items>(RowKind<T, items> kind) {
      const unsigned blocks = blocks_for(rows, items > 0 ? row_warps : 1);
      f(kind, Launch(operation, x.device(), blocks, row_threads), rows, width);
    };
    if (width <= 2 * warp_size) return run(RowKind<T, 2>{});
    if (width <= 8 * warp_size) return run(RowKind<T, 8>{});
    if (width <= 16 * warp_size) return run(RowKind<T, 16>{});
    if (width <= longest_warp_row) return run(RowKind<T, 32>{});
    run(RowKind<T, 0>{});
  });
}

}  // namespace vitral::cuda
