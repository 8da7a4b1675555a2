// Rows of one width copied to rows of another: heads padded with zeros to a size that a library's kernels
// take, and back.
#pragma once
#include <limits>

#include "tensor/cuda/device.h"

namespace vitral::cuda {

/// A thread writes `pack_size` neighbouring numbers of `to`, wherever rows begin and end, in one access of 16
/// bytes; what it reads lies within a few numbers of what its neighbours read.
template <class T, class Index>
__global__ void __launch_bounds__(256)
    repad_kernel(T* __restrict__ to, int to_width, const T* __restrict__ from, int from_width, Index count,
                 bool aligned) {
  constexpr int n = pack_size<T>;
  const Index first = (static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x) * n;
  if (first >= count) return;
  Index row = first / static_cast<Index>(to_width);
  int column = static_cast<int>(first - row * static_cast<Index>(to_width));
  Pack<T, n> p;
#pragma unroll
  for (int i = 0; i < n; ++i) {
    const bool inside = column < from_width && first + static_cast<Index>(i) < count;
    p.v[i] =
        inside ? from[row * static_cast<Index>(from_width) + static_cast<Index>(column)] : store<T>(0.0F);
    if (++column == to_width) {
      column = 0;
      ++row;
    }
  }
  if (aligned && first + n <= count) {
    store_pack(to + first, p);
  } else {
#pragma unroll
    for (int i = 0; i < n; ++i)
      if (first + static_cast<Index>(i) < count) to[first + static_cast<Index>(i)] = p.v[i];
  }
}

/// to[r,c] = from[r,c], and 0 where `from` has no column c;  to [rows, to_width], from [rows, from_width].
template <class T>
void repad(const char* operation, Tensor& to, int to_width, const Tensor& from, int from_width) {
  constexpr int n = pack_size<T>;
  const std::int64_t count = to.numel();
  const bool aligned = aligned_rows<T>(n, n, data<T>(to));
  const Launch l{operation, to.device(), blocks_for(count, 256 * n), 256};
  // Divisions are what the threads spend their time on, and those of 32 bits take a quarter of it. No index
  // is beyond the larger of both tensors, but for a last block's.
  if (std::max(count, from.numel()) < std::numeric_limits<std::uint32_t>::max() - 256 * n)
    launch(l, repad_kernel<T, std::uint32_t>, data<T>(to), to_width, data<const T>(from), from_width,
           static_cast<std::uint32_t>(count), aligned);
  else
    launch(l, repad_kernel<T, std::uint64_t>, data<T>(to), to_width, data<const T>(from), from_width,
           static_cast<std::uint64_t>(count), aligned);
}

}  // namespace vitral::cuda
