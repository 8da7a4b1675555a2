// Rows that a warp keeps in registers, in packs of four neighbouring numbers: a lane then has 20 numbers of a
// row of 528 (16.5 would be even), with packs of eight 24, and more widths are multiples of four.
#pragma once
#include <cstring>

#include "tensor/cuda/device.h"

namespace vitral::cuda {

constexpr int pack = 4;

/// The first column of this lane's packs; they are warp_size packs apart.
__device__ __forceinline__ int lane_column() { return static_cast<int>(threadIdx.x) % warp_size * pack; }

/// Calls f(p, offset from lane_column()) for each pack of this lane that lies in the row.
template <int packs, class F>
__device__ __forceinline__ void for_packs(int width, F&& f) {
  const int room = width - lane_column();
#pragma unroll
  for (int p = 0; p < packs; ++p)
    if (p * warp_size * pack < room) f(p, p * warp_size * pack);
}

/// A pack as it lies in memory. A register takes two bfloat16 as one word, but only one where they are
/// numbers.
template <class T>
struct RawPack {
  static constexpr int words = pack * static_cast<int>(sizeof(T)) / 4;
  unsigned word[words];

  __device__ __forceinline__ void read(const T* from) {
    std::memcpy(word, __builtin_assume_aligned(from, sizeof(word)), sizeof(word));
  }
  template <class A>
  __device__ __forceinline__ void unpack(A (&v)[pack]) const {
    if constexpr (std::is_same_v<T, bfloat16>) {
#pragma unroll
      for (int i = 0; i < words; ++i) {
        v[2 * i] = __uint_as_float(word[i] << 16);
        v[2 * i + 1] = __uint_as_float(word[i] & 0xFFFF0000U);
      }
    } else {
      std::memcpy(v, word, sizeof(word));
    }
  }
};

template <class T, class A>
__device__ __forceinline__ void read_pack(A (&v)[pack], const T* from) {
  RawPack<T> raw;
  raw.read(from);
  raw.unpack(v);
}

/// Calls f with the number of packs that hold a row, as an integral_constant; with 0 where rows are too long
/// or not `aligned` (aligned_rows).
template <class F>
void dispatch_packs(std::int64_t width, bool aligned, F&& f) {
  constexpr int per_pack = pack * warp_size;
  if (!aligned || width > 8 * per_pack) return f(std::integral_constant<int, 0>{});
  if (width <= per_pack) return f(std::integral_constant<int, 1>{});
  if (width <= 3 * per_pack) return f(std::integral_constant<int, 3>{});
  if (width <= 5 * per_pack) return f(std::integral_constant<int, 5>{});
  f(std::integral_constant<int, 8>{});
}

/// Calls f(T, S) with the types of x and of its weights: the same, or float beside bfloat16.
template <class F>
void dispatch_weighted(const char* operation, const Tensor& x, const Tensor& weight, F&& f) {
  dispatch(operation, x.dtype(), [&]<class T>(T t) {
    if (weight.dtype() == x.dtype()) return f(t, t);
    if constexpr (std::is_same_v<T, bfloat16>)
      if (weight.dtype() == DType::float32) return f(t, float{});
    throw_error<UsageError>("{}: weight {} does not go with x {}, use its dtype, or float32 beside bfloat16",
                            operation, name(weight.dtype()), name(x.dtype()));
  });
}

}  // namespace vitral::cuda
