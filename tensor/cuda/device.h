// Device code that kernels share: conversions, vector accesses, sums over warps and blocks.
#pragma once
#include "tensor/cuda/launch.h"

namespace vitral::cuda {

constexpr int warp_size = 32;
constexpr unsigned full_warp = 0xFFFFFFFFU;

// --- numbers: storage type <-> the type it is computed in ---
template <class T>
__device__ __forceinline__ acc_t<T> load(T x) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return __bfloat162float(x);
  else
    return x;
}
template <class T, class A>
__device__ __forceinline__ T store(A x) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return __float2bfloat16(static_cast<float>(x));
  else
    return static_cast<T>(x);
}

// --- n neighbouring numbers in one access; the address must be a multiple of the size ---
template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
  T v[n];
};
/// Numbers of T in 16 bytes.
template <class T>
inline constexpr int pack_size = 16 / static_cast<int>(sizeof(T));

template <int n, class T>
__device__ __forceinline__ Pack<T, n> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, n>*>(from);
}
template <int n, class T>
__device__ __forceinline__ void store_pack(T* to, const Pack<T, n>& p) {
  *reinterpret_cast<Pack<T, n>*>(to) = p;
}

/// True where rows of `width` elements that begin at all of these addresses can be read n at a time.
template <class T, class... P>
bool aligned_rows(std::int64_t width, int n, const P*... pointers) {
  const auto size = sizeof(T) * static_cast<std::size_t>(n);
  return width % n == 0 && ((reinterpret_cast<std::uintptr_t>(pointers) % size == 0) && ...);
}

// --- dynamic shared memory of the block, aligned to 16 bytes ---
template <class T>
__device__ __forceinline__ T* shared_memory() {
#ifdef __CUDACC__
  extern __shared__ __align__(128) unsigned char vitral_shared_memory[];
  return reinterpret_cast<T*>(vitral_shared_memory);
#else
  return static_cast<T*>(simulator::dynamic_shared());
#endif
}

// --- sums: the result in every lane, every time in the same order ---
template <class A>
__device__ __forceinline__ A warp_sum(A x) {
#pragma unroll
  for (int step = warp_size / 2; step > 0; step /= 2) x += __shfl_xor_sync(full_warp, x, step);
  return x;
}
/// The larger of two numbers, NaN where one is.
template <class A>
__device__ __forceinline__ A larger(A a, A b) {
  return b > a || b != b ? b : a;
}
template <class A>
__device__ __forceinline__ A warp_max(A x) {
#pragma unroll
  for (int step = warp_size / 2; step > 0; step /= 2) x = larger(x, __shfl_xor_sync(full_warp, x, step));
  return x;
}
/// Over a block of whole warps, at most 1024 threads; `scratch` holds 33 numbers of shared memory. Every
/// thread of the block must call it.
template <class A>
__device__ __forceinline__ A block_sum(A x, A* scratch) {
  const unsigned lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  const unsigned warps = blockDim.x / warp_size;
  x = warp_sum(x);
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  if (warp == 0) {
    const A sum = warp_sum(lane < warps ? scratch[lane] : A(0));
    if (lane == 0) scratch[warp_size] = sum;
  }
  __syncthreads();
  const A total = scratch[warp_size];
  __syncthreads();  // scratch may be used again at once
  return total;
}

}  // namespace vitral::cuda
