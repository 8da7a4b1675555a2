// Attention on tensor cores: what a warp does with 16 tokens of one head and 32 tokens that they see. All
// functions are for all lanes of a warp.
//
// Left factors and scores are as tensor/cuda/mma.h describes them, loaded from shared memory pair by pair:
// along a row for S = Q K^T, where lane (g, t) reads pair t of row g, and across rows for P V, where it reads
// pair g of rows 2t and 2t + 1 and takes these apart into two columns. A head is read from a whole pair on:
// what the number before an odd one, and the numbers behind it, would add to scores is kept out by zeros in
// the left factor; in results they are columns that nobody stores. (A number of a neighbouring head that is
// not finite can therefore make this one NaN.)
#pragma once
#include <limits>

#include "tensor/cuda/attention/tiles.h"

namespace vitral::cuda::tensor_cores {

// --- fragments; `units` of 8 numbers hold a head and the number before it ---

/// Heads of fewer units go by the kernel of the next size: units that the smaller kernels could not hold may
/// lie behind the end.
template <int units>
inline constexpr int whole_units = units == 2    ? 0
                                   : units == 9  ? 8
                                   : units == 16 ? 9
                                   : units == 8  ? 5
                                                 : units - 1;

/// Rows row..row+15 of a head, with zeros around its numbers; nothing else is read.
template <int units>
__device__ __forceinline__ void load_left(Left (&a)[units], const Pair* tile, int row, const Head& head,
                                          const Lane& lane, int stride) {
  const Pair* upper = tile + (row + lane.g) * stride + head.first + lane.t;
  const Pair* lower = upper + 8 * stride;
#pragma unroll
  for (int u = 0; u < units; ++u) {
    const Pair mask = u == 0 || u >= whole_units<units> ? head.mask(4 * u + lane.t) : 0xFFFFFFFFU;
    a[u] = {};
    if (mask != 0) a[u] = {upper[4 * u] & mask, lower[4 * u] & mask};
  }
}

/// s = a b^T, b the rows key..key+31 of a head.
template <int units>
__device__ __forceinline__ void scores(Sums (&s)[key_units], const Left (&a)[units], const Pair* tile,
                                       int key, const Head& head, const Lane& lane, int stride) {
  const Pair* b = tile + (key + lane.g) * stride + head.first + lane.t;
#pragma unroll
  for (int k = 0; k < key_units; ++k, b += 8 * stride) {
    s[k] = {};
#pragma unroll
    for (int u = 0; u + 1 < units; u += 2) multiply(s[k], a[u], a[u + 1], b[4 * u], b[4 * u + 4]);
    if constexpr (units % 2 != 0) multiply(s[k], a[units - 1], b[4 * (units - 1)]);
  }
}

/// o += w b, b the rows key..key+31 of a head. Of each two units of o, the first has the even and the second
/// the odd ones of 16 columns, as a lane finds them in the pairs that it loads; a last single unit is as
/// usual.
template <int units>
__device__ __forceinline__ void add_weighted(Sums (&o)[units], const Left (&w)[key_units], const Pair* tile,
                                             int key, const Head& head, const Lane& lane, int stride) {
  const Pair* rows = tile + (key + 2 * lane.t) * stride + head.first;
#pragma unroll
  for (int k = 0; k < key_units; k += 2, rows += 16 * stride) {
    const Pair* more = rows + 8 * stride;
#pragma unroll
    for (int u = 0; u + 1 < units; u += 2) {
      const int at = 4 * u + lane.g;
      const Pair b0 = rows[at], b1 = rows[stride + at], b2 = more[at], b3 = more[stride + at];
      multiply(o[u], w[k], w[k + 1], transpose(b0, b1, false), transpose(b2, b3, false));
      multiply(o[u + 1], w[k], w[k + 1], transpose(b0, b1, true), transpose(b2, b3, true));
    }
    if constexpr (units % 2 != 0) {
      const int at = 4 * (units - 1) + lane.g / 2;
      const bool odd = lane.g % 2 != 0;
      multiply(o[units - 1], w[k], w[k + 1], transpose(rows[at], rows[stride + at], odd),
               transpose(more[at], more[stride + at], odd));
    }
  }
}

/// 16 rows of a result of add_weighted, rounded. Pair i of a lane is pair result_pair(i) of the head.
template <int units>
struct Result {
  Left pairs[units];
  Result() = default;
  __device__ explicit Result(const Sums (&o)[units], float upper = 1, float lower = 1) {
#pragma unroll
    for (int u = 0; u + 1 < units; u += 2) {
      const float *a = o[u].v, *b = o[u + 1].v;
      pairs[u] = {make_pair(a[0] * upper, b[0] * upper), make_pair(a[2] * lower, b[2] * lower)};
      pairs[u + 1] = {make_pair(a[1] * upper, b[1] * upper), make_pair(a[3] * lower, b[3] * lower)};
    }
    if constexpr (units % 2 != 0) {
      const float* c = o[units - 1].v;
      pairs[units - 1] = {make_pair(c[0] * upper, c[1] * upper), make_pair(c[2] * lower, c[3] * lower)};
    }
  }
  __device__ static int result_pair(int i, const Lane& lane) {
    return units % 2 != 0 && i == units - 1 ? 4 * i + lane.t : 4 * (i - i % 2) + 2 * lane.t + i % 2;
  }
};

/// Into rows row..row+15 of a tile, which the warp alone uses. The other half of a pair that is the head's
/// only in part is the neighbouring head's.
template <int units>
__device__ __forceinline__ void store_rows(Pair* tile, int row, const Result<units>& result, const Head& head,
                                           const Lane& lane, int stride) {
  Pair* upper = tile + (row + lane.g) * stride + head.first;
  Pair* lower = upper + 8 * stride;
#pragma unroll
  for (int i = 0; i < units; ++i) {
    const int pair = Result<units>::result_pair(i, lane);
    const bool whole = i > 0 && i - i % 2 + 2 <= whole_units<units>;
    const Pair mask = whole ? 0xFFFFFFFFU : head.mask(pair);
    if (whole) {
      upper[pair] = result.pairs[i].upper;
      lower[pair] = result.pairs[i].lower;
    } else if (mask != 0) {
      upper[pair] = (upper[pair] & ~mask) | (result.pairs[i].upper & mask);
      lower[pair] = (lower[pair] & ~mask) | (result.pairs[i].lower & mask);
    }
  }
}

// --- softmax of two rows a lane (g and g + 8), in powers of two ---

__device__ __forceinline__ float power_of_two(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

/// 1 / x for a sum of weights, the largest of which is 1.
__device__ __forceinline__ float reciprocal(float x) {
#ifdef __CUDACC__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1 / x;
#endif
}

struct Softmax {
  float maximum[2] = {-std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  float sum[2] = {};  // of the lane's own numbers

  /// The exponent that is subtracted: 0 where a row has seen nothing.
  __device__ float base(int r, float scale) const {
    return maximum[r] == -std::numeric_limits<float>::infinity() ? 0.0F : maximum[r] * scale;
  }
  /// Replaces scores by weights 2^(scale s - base) and adds them up. What was summed before, if this is not
  /// the `first` time, must be multiplied by `factor`.
  __device__ void add(Sums (&s)[key_units], unsigned bits, float scale, bool first, float (&factor)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float before = maximum[r];
      float top = before;
#pragma unroll
      for (int i = 0; i < 2 * key_units; ++i) {
        float& x = score(s, r, i);
        x = bits >> bit(r, i) & 1U ? x : -std::numeric_limits<float>::infinity();
        top = i == 0 && first ? x : fmaxf(top, x);
      }
      maximum[r] = row_max(top);
      const float subtracted = base(r, scale);
      factor[r] = first ? 0.0F : power_of_two(before * scale - subtracted);
      float added = 0;
#pragma unroll
      for (int i = 0; i < 2 * key_units; ++i) {
        float& x = score(s, r, i);
        x = power_of_two(x * scale - subtracted);
        added += x;
      }
      sum[r] = first ? added : sum[r] * factor[r] + added;
    }
  }

  __device__ static int bit(int r, int i) { return i / 2 * 4 + 2 * r + i % 2; }
  __device__ static float& score(Sums (&s)[key_units], int r, int i) { return s[i / 2].v[2 * r + i % 2]; }
};

__device__ __forceinline__ void round_weights(Left (&w)[key_units], const Sums (&s)[key_units]) {
#pragma unroll
  for (int k = 0; k < key_units; ++k) w[k] = make_left(s[k]);
}

constexpr float log2_e = 1.44269504F;

}  // namespace vitral::cuda::tensor_cores
