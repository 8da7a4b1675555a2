// Attention for every size and dtype, straight from global memory: what remains where no other kernel's tiles
// or registers hold a head.
//
// A warp takes a query (backward: then a key) of a head and `per_lane` x 32 of its numbers; lanes are
// neighbouring numbers, so that rows are read coalesced, again and again, from the caches. The scores of one
// pair are summed over all lanes. Larger heads are cut into such pieces, each of which computes all scores.
// Forward is one pass with the online softmax, backward two over the keys (weights, then dq) and one over the
// queries (dk, dv). Sums are in one fixed order.
#include <cmath>
#include <limits>

#include "tensor/cuda/attention/paths.h"
#include "tensor/cuda/device.h"

namespace vitral::cuda {
namespace {

constexpr int warps = 4;

/// The tokens that one sees, or (seeing) that see it, which are others where attention is causal: every
/// `step`th of a rectangle of the grid, and the registers.
struct Visible {
  int top, bottom, left, right;  // the last ones inclusive
  int step;
  __device__ Visible(int token, const AttentionShape& s, bool seeing = false) {
    const bool all = token >= s.grid_tokens();
    const int row = all ? 0 : token / s.grid_columns, column = all ? 0 : token - row * s.grid_columns;
    step = all ? 1 : s.dilation;
    top = row - min(s.reach_rows, row / step) * step;
    left = column - min(s.reach_columns, column / step) * step;
    bottom = all ? s.grid_rows - 1 : min(row + s.reach_rows * step, s.grid_rows - 1);
    right = all ? s.grid_columns - 1 : min(column + s.reach_columns * step, s.grid_columns - 1);
    if (s.causal) (seeing ? left : right) = column;
  }
  template <class F>
  __device__ __forceinline__ void for_each(const AttentionShape& s, const F& f) const {
    for (int row = top; row <= bottom; row += step)
      for (int column = left; column <= right; column += step) f(row * s.grid_columns + column);
    for (int token = s.grid_tokens(); token < s.tokens; ++token) f(token);
  }
};

/// What a warp works on, the head's columns of the image's rows, and the lane's numbers of them.
template <int per_lane>
struct Work {
  std::int64_t image;
  int token, head, first;  // first: number of the head
  int lane = static_cast<int>(threadIdx.x) % warp_size;

  __device__ bool find(const AttentionShape& s, int pieces) {
    std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / warp_size;
    first = static_cast<int>(i % pieces) * per_lane * warp_size;
    i /= pieces;
    head = static_cast<int>(i % s.heads);
    i /= s.heads;
    token = static_cast<int>(i % s.tokens);
    image = i / s.tokens;
    return image < s.batch;
  }
  /// The head in row `of` of part `part` in a tensor of `parts` parts a row.
  template <class T>
  __device__ T* row(T* tensor, int parts, int part, int of, const AttentionShape& s) const {
    return tensor + ((image * s.tokens + of) * parts + part) * s.width() + head * s.size;
  }
  __device__ std::int64_t stats(int of, const AttentionShape& s) const {
    return (image * s.heads + head) * s.tokens + of;
  }

  template <class T>
  __device__ acc_t<T> dot(const T* a, const T* b, const AttentionShape& s) const {
    acc_t<T> sum = 0;
    for (int d = lane; d < s.size; d += warp_size) sum += load(a[d]) * load(b[d]);
    return warp_sum(sum);
  }
  template <class T>
  __device__ void add(acc_t<T> (&sums)[per_lane], acc_t<T> weight, const T* from,
                      const AttentionShape& s) const {
#pragma unroll
    for (int i = 0; i < per_lane; ++i) {
      const int d = first + i * warp_size + lane;
      if (d < s.size) sums[i] += weight * load(from[d]);
    }
  }
  template <class T>
  __device__ void write(T* to, const acc_t<T> (&sums)[per_lane], acc_t<T> factor,
                        const AttentionShape& s) const {
#pragma unroll
    for (int i = 0; i < per_lane; ++i) {
      const int d = first + i * warp_size + lane;
      if (d < s.size) to[d] = store<T>(sums[i] * factor);
    }
  }
};

template <class A>
struct Softmax {
  A maximum = -std::numeric_limits<A>::infinity(), sum = 0;
  /// The weight of a score relative to `maximum`; what was summed before must be multiplied by `factor`.
  __device__ A add(A score, A& factor) {
    const A before = maximum;
    maximum = score > before ? score : before;
    const A weight = exp(score - maximum);
    factor = exp(before - maximum);
    sum = sum * factor + weight;
    return weight;
  }
  __device__ A lse() const { return maximum + log(sum); }
};

template <class T, int per_lane>
__global__ void __launch_bounds__(warps* warp_size)
    forward_kernel(T* out, acc_t<T>* lse, const T* qkv, AttentionShape s, int pieces, acc_t<T> scale) {
  using A = acc_t<T>;
  Work<per_lane> w;
  if (!w.find(s, pieces)) return;
  const T* q = w.row(qkv, 3, 0, w.token, s);
  Softmax<A> softmax;
  A sums[per_lane] = {};
  Visible(w.token, s).for_each(s, [&](int key) {
    A factor;
    const A weight = softmax.add(w.dot(q, w.row(qkv, 3, 1, key, s), s) * scale, factor);
#pragma unroll
    for (A& x : sums) x *= factor;
    w.add(sums, weight, w.row(qkv, 3, 2, key, s), s);
  });
  w.write(w.row(out, 1, 0, w.token, s), sums, 1 / softmax.sum, s);
  if (lse && w.first == 0 && w.lane == 0) lse[w.stats(w.token, s)] = softmax.lse();
}

/// What a query tells its keys.
template <class A>
struct Stats {
  A lse, mean;  // mean: sum p dp
};

template <class T, int per_lane>
__global__ void __launch_bounds__(warps* warp_size)
    query_kernel(T* dqkv, Stats<acc_t<T>>* stats, const T* dout, const T* qkv, AttentionShape s, int pieces,
                 acc_t<T> scale) {
  using A = acc_t<T>;
  Work<per_lane> w;
  if (!w.find(s, pieces)) return;
  const Visible visible(w.token, s);
  const T *q = w.row(qkv, 3, 0, w.token, s), *g = w.row(dout, 1, 0, w.token, s);
  Softmax<A> softmax;
  A mean = 0;
  visible.for_each(s, [&](int key) {
    A factor;
    const A weight = softmax.add(w.dot(q, w.row(qkv, 3, 1, key, s), s) * scale, factor);
    mean = mean * factor + weight * w.dot(g, w.row(qkv, 3, 2, key, s), s);
  });
  mean /= softmax.sum;
  A sums[per_lane] = {};
  visible.for_each(s, [&](int key) {
    const T* k = w.row(qkv, 3, 1, key, s);
    const A weight = exp(w.dot(q, k, s) * scale - softmax.maximum) / softmax.sum;
    w.add(sums, weight * (w.dot(g, w.row(qkv, 3, 2, key, s), s) - mean), k, s);
  });
  w.write(w.row(dqkv, 3, 0, w.token, s), sums, scale, s);
  if (w.first == 0 && w.lane == 0) stats[w.stats(w.token, s)] = {softmax.lse(), mean};
}

template <class T, int per_lane>
__global__ void __launch_bounds__(warps* warp_size)
    key_kernel(T* dqkv, const Stats<acc_t<T>>* stats, const T* dout, const T* qkv, AttentionShape s,
               int pieces, acc_t<T> scale) {
  using A = acc_t<T>;
  Work<per_lane> w;
  if (!w.find(s, pieces)) return;
  const T *k = w.row(qkv, 3, 1, w.token, s), *v = w.row(qkv, 3, 2, w.token, s);
  A dk[per_lane] = {}, dv[per_lane] = {};
  Visible(w.token, s, true).for_each(s, [&](int query) {
    const T *q = w.row(qkv, 3, 0, query, s), *g = w.row(dout, 1, 0, query, s);
    const Stats<A> of = stats[w.stats(query, s)];
    const A weight = exp(w.dot(q, k, s) * scale - of.lse);
    w.add(dv, weight, g, s);
    w.add(dk, weight * (w.dot(g, v, s) - of.mean), q, s);
  });
  w.write(w.row(dqkv, 3, 1, w.token, s), dk, scale, s);
  w.write(w.row(dqkv, 3, 2, w.token, s), dv, A(1), s);
}

/// Calls f with std::integral_constant of the numbers of a lane, the pieces of a head and the grid.
template <class F>
void with_pieces(const AttentionShape& s, const F& f) {
  const auto run = [&]<int per_lane>(std::integral_constant<int, per_lane> constant) {
    const int piece = per_lane * warp_size, pieces = (s.size + piece - 1) / piece;
    f(constant, pieces, blocks_for(s.batch * s.tokens * s.heads * pieces, warps));
  };
  if (s.size <= 2 * warp_size)
    run(std::integral_constant<int, 2>{});
  else
    run(std::integral_constant<int, 8>{});
}

}  // namespace

void general_attention(const char* operation, Tensor& out, const Tensor& lse, const Tensor& qkv,
                       const AttentionShape& shape) {
  dispatch(operation, qkv.dtype(), [&]<class T>(T) {
    const auto scale = scale_of<acc_t<T>>(shape);
    with_pieces(shape, [&]<int n>(std::integral_constant<int, n>, int pieces, unsigned blocks) {
      launch({operation, qkv.device(), blocks, warps * warp_size}, forward_kernel<T, n>, data<T>(out),
             data<acc_t<T>>(lse), data<const T>(qkv), shape, pieces, scale);
    });
  });
}

void general_attention_backward(const char* operation, Tensor& dqkv, const Tensor& dout, const Tensor& qkv,
                                const AttentionShape& shape) {
  const Tensor scratch({shape.batch, shape.heads, shape.tokens, 2},
                       qkv.dtype() == DType::float64 ? DType::float64 : DType::float32, qkv.device());
  dispatch(operation, qkv.dtype(), [&]<class T>(T) {
    const auto scale = scale_of<acc_t<T>>(shape);
    auto* stats = data<Stats<acc_t<T>>>(scratch);
    with_pieces(shape, [&]<int n>(std::integral_constant<int, n>, int pieces, unsigned blocks) {
      const Launch l{operation, qkv.device(), blocks, warps * warp_size};
      launch(l, query_kernel<T, n>, data<T>(dqkv), stats, data<const T>(dout), data<const T>(qkv), shape,
             pieces, scale);
      launch(l, key_kernel<T, n>, data<T>(dqkv), stats, data<const T>(dout), data<const T>(qkv), shape,
             pieces, scale);
    });
  });
}

}  // namespace vitral::cuda
