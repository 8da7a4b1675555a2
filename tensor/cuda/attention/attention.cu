// Full and causal attention. In bfloat16 they run on tensor cores: full attention by cuDNN where it is built
// in, and both by our own kernel (tensor_cores.cu) where q, k and v of a head fit in shared memory. Here is
// the rest, float32 and float64 above all; heads of more than 512 numbers go by general.cu.
//
// After FlashAttention (Dao et al. 2022, arXiv 2205.14135): tiles of keys and values pass through shared
// memory while queries stay in registers, with the online softmax. `lanes` neighbouring threads share a
// query, each with packs of four of its numbers, interleaved, so that a warp reads a key in as few accesses
// as there are different numbers in it. Heads are padded with zeros to a size of the table at the end. Four
// keys at a time share the sums over lanes and the softmax's bookkeeping. Backward recomputes the weights
// from lse, first by query (dq, and delta = dout . out for the second kernel), then by key (dk, dv).
#include <cmath>
#include <limits>

#include "tensor/cuda/attention/paths.h"
#include "tensor/cuda/device.h"
#ifdef VITRAL_CUDNN
#include "tensor/cuda/attention/cudnn.h"
#endif

namespace vitral {
namespace cuda {
namespace {

constexpr int threads = 128;

/// Sizes that a kernel is compiled for.
template <class T, int packs_, int lanes_>
struct Config {
  using A = acc_t<T>;
  static constexpr int packs = packs_, lanes = lanes_;
  static constexpr int size = 4 * packs * lanes;     // of a padded head
  static constexpr int per_block = threads / lanes;  // queries (backward: or keys)
  /// Rows of a tile at a time: the compiler keeps their numbers of both tiles in registers.
  static constexpr int step = sizeof(A) == sizeof(double) ? 1 : 16 / packs;
  /// Rows of a tile: two tiles and what goes with them stay below 48 KB.
  static constexpr int rows = std::min(32, 20480 / (size * static_cast<int>(sizeof(A)))) / step * step;
};

/// The numbers of a head that a thread holds.
template <class C>
struct Numbers {
  using A = typename C::A;
  Pack<A, 4> packs[C::packs] = {};

  /// The first of the numbers of pack i.
  __device__ static int first(int i) { return (i * C::lanes + static_cast<int>(threadIdx.x) % C::lanes) * 4; }
  template <class T>
  __device__ static Numbers read(const T* row, int size, bool there, A factor = 1) {
    Numbers n;
#pragma unroll
    for (int i = 0; i < C::packs; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (there && first(i) + j < size) n.packs[i].v[j] = load(row[first(i) + j]) * factor;
    return n;
  }
  template <class T>
  __device__ void write(T* row, int size, A factor = 1) const {
#pragma unroll
    for (int i = 0; i < C::packs; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (first(i) + j < size) row[first(i) + j] = store<T>(packs[i].v[j] * factor);
  }

  /// With a row of a tile; the result is for all threads of the group, which all must call it.
  __device__ A dot(const A* row) const {
    A sum = 0;
#pragma unroll
    for (int i = 0; i < C::packs; ++i) {
      const auto other = load_pack<4>(row + first(i));
#pragma unroll
      for (int j = 0; j < 4; ++j) sum += packs[i].v[j] * other.v[j];
    }
    return group_sum(sum);
  }
  __device__ A dot(const Numbers& other) const {
    A sum = 0;
#pragma unroll
    for (int i = 0; i < C::packs; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) sum += packs[i].v[j] * other.packs[i].v[j];
    return group_sum(sum);
  }
  __device__ void add(const A (&weights)[C::step], const A* rows) {
#pragma unroll
    for (int i = 0; i < C::packs; ++i)
#pragma unroll
      for (int r = 0; r < C::step; ++r) {
        const auto other = load_pack<4>(rows + r * C::size + first(i));
#pragma unroll
        for (int j = 0; j < 4; ++j) packs[i].v[j] += weights[r] * other.v[j];
      }
  }
  __device__ void multiply(A factor) {
#pragma unroll
    for (auto& pack : packs)
#pragma unroll
      for (A& x : pack.v) x *= factor;
  }

 private:
  __device__ static A group_sum(A x) {
#pragma unroll
    for (int distance = C::lanes / 2; distance > 0; distance /= 2)
      x += __shfl_xor_sync(full_warp, x, distance);
    return x;
  }
};

/// Tokens from `begin` on up to `end`.
struct Range {
  int begin, end;
  __device__ bool has(int token) const { return token >= begin && token < end; }
};

/// What a block works on: a head of an image and `per_block` of its tokens, of which a thread has one.
template <class C>
struct Work {
  std::int64_t image;
  int head, token;
  int first;    // of the block's tokens
  bool there;   // whether there is such a token
  bool writes;  // what is one number a token
  __device__ Work(const AttentionShape& s, int blocks) {
    const auto i = static_cast<int>(blockIdx.x) / blocks;
    image = i / s.heads;
    head = i % s.heads;
    first = (static_cast<int>(blockIdx.x) % blocks) * C::per_block;
    token = first + static_cast<int>(threadIdx.x) / C::lanes;
    there = token < s.tokens;
    writes = there && static_cast<int>(threadIdx.x) % C::lanes == 0;
  }
  /// Those that the thread's token sees, and those that any token of the block sees.
  __device__ Range seen(const AttentionShape& s) const { return {0, s.causal ? token + 1 : s.tokens}; }
  __device__ Range seen_by_any(const AttentionShape& s) const {
    return {0, s.causal ? min(first + C::per_block, s.tokens) : s.tokens};
  }
  /// Those that see it, or any token of the block.
  __device__ Range seeing(const AttentionShape& s) const { return {s.causal ? token : 0, s.tokens}; }
  __device__ Range seeing_any(const AttentionShape& s) const { return {s.causal ? first : 0, s.tokens}; }
  /// The head in row `of` of part `part` in a tensor of `parts` parts a row.
  template <class T>
  __device__ T* row(T* tensor, int parts, int part, int of, const AttentionShape& s) const {
    return tensor + ((image * s.tokens + of) * parts + part) * s.width() + head * s.size;
  }
  __device__ std::int64_t number(int of, const AttentionShape& s) const {
    return (image * s.heads + head) * s.tokens + of;
  }
};

template <class C, class T>
__device__ void fill_tile(typename C::A* tile, const T* from, std::int64_t stride, int rows, int size) {
  for (int i = static_cast<int>(threadIdx.x); i < C::rows * C::size; i += threads) {
    const int row = i / C::size, d = i % C::size;
    tile[i] = row < rows && d < size ? load(from[row * stride + d]) : typename C::A(0);
  }
}

/// Calls f(place in the tile, token) for each `step` of these tokens, with two tiles in shared memory.
template <class C, class Fill, class F>
__device__ __forceinline__ void for_each_step(const Range& tokens, const Fill& fill, const F& f) {
  for (int first = tokens.begin; first < tokens.end; first += C::rows) {
    const int rows = min(C::rows, tokens.end - first);
    __syncthreads();
    fill(first, rows);
    __syncthreads();
    for (int i = 0; i < rows; i += C::step) f(i, first + i);
  }
}

template <class C, class T>
__global__ void __launch_bounds__(threads) forward_kernel(T* out, typename C::A* lse, const T* qkv,
                                                          AttentionShape s, int blocks, typename C::A scale) {
  using A = typename C::A;
  __shared__ __align__(32) A keys[C::rows * C::size], values[C::rows * C::size];
  const Work<C> w(s, blocks);
  const Range seen = w.seen(s);
  const auto q = Numbers<C>::read(w.row(qkv, 3, 0, w.token, s), s.size, w.there, scale);
  Numbers<C> o;
  A maximum = -std::numeric_limits<A>::infinity(), sum = 0;
  const auto fill = [&](int first, int rows) {
    fill_tile<C>(keys, w.row(qkv, 3, 1, first, s), 3 * s.width(), rows, s.size);
    fill_tile<C>(values, w.row(qkv, 3, 2, first, s), 3 * s.width(), rows, s.size);
  };
  for_each_step<C>(w.seen_by_any(s), fill, [&](int i, int key) {
    A weights[C::step], top = maximum;
#pragma unroll
    for (int r = 0; r < C::step; ++r) {
      const A score = q.dot(keys + (i + r) * C::size);
      weights[r] = seen.has(key + r) ? score : -std::numeric_limits<A>::infinity();
      top = weights[r] > top ? weights[r] : top;
    }
    const A factor = exp(maximum - top);
    maximum = top;
    sum *= factor;
#pragma unroll
    for (A& x : weights) sum += x = exp(x - top);
    o.multiply(factor);
    o.add(weights, values + i * C::size);
  });
  if (out && w.there) o.write(w.row(out, 1, 0, w.token, s), s.size, 1 / sum);
  if (lse && w.writes) lse[w.number(w.token, s)] = maximum + log(sum);
}

template <class C, class T>
__global__ void __launch_bounds__(threads)
    query_kernel(T* dqkv, typename C::A* delta, const T* dout, const T* qkv, const T* out,
                 const typename C::A* lse, AttentionShape s, int blocks, typename C::A scale) {
  using A = typename C::A;
  __shared__ __align__(32) A keys[C::rows * C::size], values[C::rows * C::size];
  const Work<C> w(s, blocks);
  const auto q = Numbers<C>::read(w.row(qkv, 3, 0, w.token, s), s.size, w.there, scale);
  const auto g = Numbers<C>::read(w.row(dout, 1, 0, w.token, s), s.size, w.there);
  const A mean = g.dot(Numbers<C>::read(w.row(out, 1, 0, w.token, s), s.size, w.there));
  const A own_lse = w.there ? lse[w.number(w.token, s)] : A(0);
  if (w.writes) delta[w.number(w.token, s)] = mean;
  const Range seen = w.seen(s);
  Numbers<C> dq;
  const auto fill = [&](int first, int rows) {
    fill_tile<C>(keys, w.row(qkv, 3, 1, first, s), 3 * s.width(), rows, s.size);
    fill_tile<C>(values, w.row(qkv, 3, 2, first, s), 3 * s.width(), rows, s.size);
  };
  for_each_step<C>(w.seen_by_any(s), fill, [&](int i, int key) {
    A slopes[C::step];
#pragma unroll
    for (int r = 0; r < C::step; ++r) {
      const A score = q.dot(keys + (i + r) * C::size), dp = g.dot(values + (i + r) * C::size);
      slopes[r] = seen.has(key + r) ? exp(score - own_lse) * (dp - mean) : A(0);
    }
    dq.add(slopes, keys + i * C::size);
  });
  if (w.there) dq.write(w.row(dqkv, 3, 0, w.token, s), s.size, scale);
}

template <class C, class T>
__global__ void __launch_bounds__(threads)
    key_kernel(T* dqkv, const typename C::A* delta, const T* dout, const T* qkv, const typename C::A* lse,
               AttentionShape s, int blocks, typename C::A scale) {
  using A = typename C::A;
  __shared__ __align__(32) A queries[C::rows * C::size], gradients[C::rows * C::size];
  __shared__ A lse_tile[C::rows], delta_tile[C::rows];
  const Work<C> w(s, blocks);
  const auto k = Numbers<C>::read(w.row(qkv, 3, 1, w.token, s), s.size, w.there, scale);
  const auto v = Numbers<C>::read(w.row(qkv, 3, 2, w.token, s), s.size, w.there);
  const Range seeing = w.seeing(s);
  Numbers<C> dk, dv;
  const auto fill = [&](int first, int rows) {
    fill_tile<C>(queries, w.row(qkv, 3, 0, first, s), 3 * s.width(), rows, s.size);
    fill_tile<C>(gradients, w.row(dout, 1, 0, first, s), s.width(), rows, s.size);
    const int i = static_cast<int>(threadIdx.x);
    if (i < C::rows) {
      lse_tile[i] = i < rows ? lse[w.number(first + i, s)] : A(0);
      delta_tile[i] = i < rows ? delta[w.number(first + i, s)] : A(0);
    }
  };
  for_each_step<C>(w.seeing_any(s), fill, [&](int i, int query) {
    A weights[C::step], slopes[C::step];
#pragma unroll
    for (int r = 0; r < C::step; ++r) {
      const A score = k.dot(queries + (i + r) * C::size), dp = v.dot(gradients + (i + r) * C::size);
      weights[r] = seeing.has(query + r) ? exp(score - lse_tile[i + r]) : A(0);
      slopes[r] = weights[r] * (dp - delta_tile[i + r]);
    }
    dv.add(weights, gradients + i * C::size);
    dk.add(slopes, queries + i * C::size);
  });
  if (w.there) {
    dk.write(w.row(dqkv, 3, 1, w.token, s), s.size, scale);
    dv.write(w.row(dqkv, 3, 2, w.token, s), s.size);
  }
}

// --- the host's side ---

/// Calls f with the configuration for a head size; false where there is none.
template <class T, class F>
bool with_config(int size, const F& f) {
  if (size <= 16)
    f(Config<T, 4, 1>{});
  else if (size <= 40)
    f(Config<T, 5, 2>{});
  else if (size <= 64)
    f(Config<T, 4, 4>{});
  else if (size <= 128)
    f(Config<T, 4, 8>{});
  else if (size <= 512)
    f(Config<T, 4, 32>{});
  else
    return false;
  return true;
}

template <class C>
int blocks_a_head(const AttentionShape& s) {
  return (s.tokens + C::per_block - 1) / C::per_block;
}
template <class C>
Launch launch_of(const char* operation, Device device, const AttentionShape& s) {
  return {operation, device, blocks_for(s.batch * s.heads * blocks_a_head<C>(s), 1), threads};
}

/// `out` may be undefined.
bool tiled(const char* operation, const Tensor& out, const Tensor& lse, const Tensor& qkv,
           const AttentionShape& s) {
  return dispatch(operation, qkv.dtype(), [&]<class T>(T) {
    return with_config<T>(s.size, [&]<class C>(C) {
      using A = typename C::A;
      launch(launch_of<C>(operation, qkv.device(), s), forward_kernel<C, T>, data<T>(out), data<A>(lse),
             data<const T>(qkv), s, blocks_a_head<C>(s), scale_of<A>(s));
    });
  });
}

bool tiled_backward(const char* operation, const Tensor& dqkv, const Tensor& dout, const Tensor& qkv,
                    const Tensor& out, const Tensor& lse, const AttentionShape& s) {
  return dispatch(operation, qkv.dtype(), [&]<class T>(T) {
    return with_config<T>(s.size, [&]<class C>(C) {
      using A = typename C::A;
      const Tensor delta(lse.shape(), lse.dtype(), lse.device());
      const Launch l = launch_of<C>(operation, qkv.device(), s);
      launch(l, query_kernel<C, T>, data<T>(dqkv), data<A>(delta), data<const T>(dout), data<const T>(qkv),
             data<const T>(out), data<const A>(lse), s, blocks_a_head<C>(s), scale_of<A>(s));
      launch(l, key_kernel<C, T>, data<T>(dqkv), data<const A>(delta), data<const T>(dout),
             data<const T>(qkv), data<const A>(lse), s, blocks_a_head<C>(s), scale_of<A>(s));
    });
  });
}

/// lse, computed again where a caller did not keep it.
Tensor find_lse(const Tensor& lse, const Tensor& qkv, const AttentionShape& s) {
  if (lse.defined()) return lse;
  const Tensor computed({s.batch, s.heads, s.tokens},
                        qkv.dtype() == DType::float64 ? DType::float64 : DType::float32, qkv.device());
  tiled("attention_backward", {}, computed, qkv, s);
  return computed;
}

}  // namespace
}  // namespace cuda

namespace {

// Heads whose size is no multiple of 8 cost cuDNN copies of all tensors; our kernel takes them as they are.
bool suits_cudnn(const cuda::AttentionShape& s) { return s.size % 8 == 0; }

void forward(Tensor& out, Tensor& lse, const Tensor& qkv, std::int64_t heads, bool causal) {
  if (qkv.numel() == 0) return;
  constexpr auto operation = "attention";
  const cuda::AttentionShape s = cuda::everywhere(qkv, heads, causal);
  if (!suits_cudnn(s) && cuda::tensor_core_attention(operation, out, lse, qkv, s)) return;
#ifdef VITRAL_CUDNN
  if (!causal && cuda::cudnn_attention(out, lse, qkv, heads)) return;
#endif
  if (cuda::tensor_core_attention(operation, out, lse, qkv, s)) return;
  if (!cuda::tiled(operation, out, lse, qkv, s)) cuda::general_attention(operation, out, lse, qkv, s);
}

void backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor& out, const Tensor& lse,
              std::int64_t heads, bool causal) {
  if (qkv.numel() == 0) return;
  constexpr auto operation = "attention_backward";
  const cuda::AttentionShape s = cuda::everywhere(qkv, heads, causal);
  if (!suits_cudnn(s) && cuda::tensor_core_attention_backward(operation, dqkv, dout, qkv, s)) return;
#ifdef VITRAL_CUDNN
  if (!causal && cuda::cudnn_attention_backward(dqkv, dout, qkv, out, cuda::find_lse(lse, qkv, s), heads))
    return;
#endif
  if (cuda::tensor_core_attention_backward(operation, dqkv, dout, qkv, s)) return;
  if (!cuda::tiled_backward(operation, dqkv, dout, qkv, out, cuda::find_lse(lse, qkv, s), s))
    cuda::general_attention_backward(operation, dqkv, dout, qkv, s);
}

const bool implemented = kernel::attention.implement(Device::Kind::cuda, forward) &&
                         kernel::attention_backward.implement(Device::Kind::cuda, backward);

}  // namespace
}  // namespace vitral
