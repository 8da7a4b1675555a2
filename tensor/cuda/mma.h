// Products of small bfloat16 matrices by one warp on the tensor cores (mma.sync), summed in float.
//
// A unit is 8 neighbours of the inner dimension. With g = lane / 4 and t = lane % 4, a lane holds
//   of a unit of A [16 rows]     numbers 2t, 2t + 1 of row g (upper) and of row g + 8 (lower)   Left
//   of a unit of B [8 columns]   numbers 2t, 2t + 1 of column g                                 Pair
//   of C [16 rows, 8 columns]    columns 2t, 2t + 1 of row g, then of row g + 8                 Sums
// so that C, rounded, is a unit of A for the next product. Fragment layouts: PTX ISA, "Matrix fragments for
// mma.m16n8k16" and "mma.m16n8k8". Where g++ compiles for the simulator, lanes exchange fragments in memory.
#pragma once
#include "tensor/cuda/device.h"

namespace vitral::cuda {

using Pair = std::uint32_t;  // two bfloat16, the first in the low half
struct Left {
  Pair upper, lower;
};
struct Sums {
  float v[4];
};

__device__ __forceinline__ Pair make_pair(float first, float second) {
#ifdef __CUDACC__
  const __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
  return *reinterpret_cast<const Pair*>(&both);
#else
  return __bfloat16_as_ushort(__float2bfloat16(first)) |
         static_cast<Pair>(__bfloat16_as_ushort(__float2bfloat16(second))) << 16;
#endif
}
__device__ __forceinline__ Left make_left(const Sums& c, float factor = 1.0F) {
  return {make_pair(c.v[0] * factor, c.v[1] * factor), make_pair(c.v[2] * factor, c.v[3] * factor)};
}

/// The first numbers of two pairs, or (second) the second ones, as a pair.
__device__ __forceinline__ Pair transpose(Pair a, Pair b, bool second) {
#ifdef __CUDACC__
  return __byte_perm(a, b, second ? 0x7632 : 0x5410);
#else
  return second ? (a >> 16 | (b & 0xFFFF0000U)) : ((a & 0xFFFFU) | b << 16);
#endif
}

#ifdef __CUDACC__
/// c += a b over 16 and over 8 numbers of the inner dimension; all lanes of the warp.
__device__ __forceinline__ void multiply(Sums& c, Left a0, Left a1, Pair b0, Pair b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
      : "r"(a0.upper), "r"(a0.lower), "r"(a1.upper), "r"(a1.lower), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply(Sums& c, Left a, Pair b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
      : "r"(a.upper), "r"(a.lower), "r"(b));
}
#else
inline void multiply(Sums& c, Left a, Pair b) {
  struct Brought {
    Left a;
    Pair b;
  };
  static Brought brought[1024];  // registers, as far as the GPU is concerned
  const auto number = [](Pair p, unsigned which) {
    return __uint_as_float(which == 0 ? p << 16 : p & 0xFFFF0000U);
  };
  const unsigned lane = threadIdx.x % warp_size;
  const Brought* warp = brought + (threadIdx.x - lane);
  brought[threadIdx.x] = {a, b};
  __syncwarp();
  for (unsigned i = 0; i < 4; ++i)
    for (unsigned k = 0; k < 8; ++k) {
      const Left row = warp[lane / 4 * 4 + k / 2].a;
      const Pair column = warp[(lane % 4 * 2 + i % 2) * 4 + k / 2].b;
      c.v[i] += number(i < 2 ? row.upper : row.lower, k % 2) * number(column, k % 2);
    }
  __syncwarp();
}
inline void multiply(Sums& c, Left a0, Left a1, Pair b0, Pair b1) {
  multiply(c, a0, b0);
  multiply(c, a1, b1);
}
#endif

/// Over the four lanes that share rows of C.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(full_warp, x, 1);
  return x + __shfl_xor_sync(full_warp, x, 2);
}
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(full_warp, x, 1));
  return fmaxf(x, __shfl_xor_sync(full_warp, x, 2));
}

}  // namespace vitral::cuda
