// The student's head, one block per image. The image's tokens [N,H (D+1)] are read once, into shared memory
// (64 x 528 bf16: 66 KB, three blocks a multiprocessor), and used there three times: for norms and logits, a
// warp a token; for the embedding, a thread a column; and for the patches where they are wanted. Backward
// makes dx in the place of x and writes it in one piece. Images that do not fit are read from memory each
// time.
//
// Once a step: docs/performance.md has its bytes.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/cuda/device.h"
#include "tensor/ops/patch_pooling.h"
#include "tensor/ops/reduce.h"

namespace vitral {
namespace {

using cuda::acc_t;
using cuda::load;
using cuda::store;
using cuda::warp_size;
using cuda::warp_sum;

constexpr int warps = 16, threads = warps * warp_size;

struct Sizes {
  int tokens, heads, size;  // N, H, D
  __device__ __host__ int width() const { return heads * size; }
  __device__ __host__ int stride() const { return heads * (size + 1); }  // of a token
  __device__ __host__ int image() const { return tokens * stride(); }
};

__device__ __forceinline__ int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int lane_index() { return thread_index() % warp_size; }

/// Calls f(n) for each token of this warp.
template <class F>
__device__ __forceinline__ void for_tokens(const Sizes& s, F&& f) {
  for (int n = thread_index() / warp_size; n < s.tokens; n += warps) f(n);
}

/// Calls f(place in the token, place among the W) for each number of this lane but the heads' last.
template <class F>
__device__ __forceinline__ void for_values(const Sizes& s, F&& f) {
  for (int h = 0; h < s.heads; ++h)
    for (int d = lane_index(); d < s.size; d += warp_size) f(h * (s.size + 1) + d, h * s.size + d);
}

/// Calls f(place in the token) for the last number of each head of this lane.
template <class F>
__device__ __forceinline__ void for_last(const Sizes& s, F&& f) {
  for (int h = lane_index(); h < s.heads; h += warp_size) f(h * (s.size + 1) + s.size);
}

template <class T>
__device__ __forceinline__ void copy_image(T* to, const T* from, int count, bool packed) {
  constexpr int n = cuda::pack_size<T>;
  if (packed) {
#pragma unroll 4
    for (int i = thread_index() * n; i < count; i += threads * n)
      cuda::store_pack(to + i, cuda::load_pack<n>(from + i));
  } else {
    for (int i = thread_index(); i < count; i += threads) to[i] = from[i];
  }
}

/// min(scale, 10), NaN where scale is; 1 where there is none.
template <class A>
__device__ __forceinline__ A factor_of(const A* scale) {
  return !scale ? A(1) : *scale > A(10) ? A(10) : *scale;
}

/// x becomes softmax(x); by one warp.
template <class A>
__device__ __forceinline__ void softmax(A* x, int count) {
  A highest = -std::numeric_limits<A>::infinity();
  for (int n = lane_index(); n < count; n += warp_size) highest = cuda::larger(highest, x[n]);
  highest = cuda::warp_max(highest);
  A sum = 0;
  for (int n = lane_index(); n < count; n += warp_size) sum += x[n] = std::exp(x[n] - highest);
  sum = warp_sum(sum);
  for (int n = lane_index(); n < count; n += warp_size) x[n] /= sum;
}

// --- forward ---

template <class T, class P>
struct Forward {
  acc_t<T>*embedding, *probs;
  P* patches;
  const T* x;
  const acc_t<T>* scale;
  Sizes sizes;
  acc_t<T> inverse_temperature;
  bool packed;

  /// probs, factors (e_n = factor r_n) and shares (their products), each [N].
  static std::size_t scratch(const Sizes& s) {
    return 3 * static_cast<std::size_t>(s.tokens) * sizeof(acc_t<T>);
  }
};

template <class T, class P, bool staged>
__global__ void __launch_bounds__(threads) pool(const Forward<T, P> a, int scratch) {
  using A = acc_t<T>;
  const Sizes s = a.sizes;
  const std::int64_t image = blockIdx.x;
  A *probs = cuda::shared_memory<A>(), *factors = probs + s.tokens, *shares = factors + s.tokens;
  const T* x = a.x + image * s.image();
  if constexpr (staged) {
    T* tile = cuda::shared_memory<T>() + scratch;
    copy_image(tile, x, s.image(), a.packed);
    __syncthreads();
    x = tile;
  }

  const A factor = factor_of(a.scale);
  for_tokens(s, [&](int n) {
    const T* token = x + n * s.stride();
    A squares = 0, logit = 0;
    for_values(s, [&](int at, int) { squares += load(token[at]) * load(token[at]); });
    for_last(s, [&](int at) { logit += load(token[at]); });
    squares = warp_sum(squares);
    logit = warp_sum(logit) / static_cast<A>(s.heads);
    if (lane_index() == 0) {
      probs[n] = logit * a.inverse_temperature;
      factors[n] = a.scale ? factor / std::sqrt(squares) : A(1);
    }
  });
  __syncthreads();
  if (thread_index() < warp_size) {
    softmax(probs, s.tokens);
    for (int n = lane_index(); n < s.tokens; n += warp_size) {
      a.probs[image * s.tokens + n] = probs[n];
      shares[n] = probs[n] * factors[n];
    }
  }
  __syncthreads();
  for (int w = thread_index(); w < s.width(); w += threads) {
    const T* column = x + w + w / s.size;
    A sum = 0;
#pragma unroll 4
    for (int n = 0; n < s.tokens; ++n) sum += shares[n] * load(column[n * s.stride()]);
    a.embedding[image * s.width() + w] = sum;
  }
  if (a.patches)
    for_tokens(s, [&](int n) {
      const T* token = x + n * s.stride();
      P* out = a.patches + (image * s.tokens + n) * s.width();
      for_values(s, [&](int at, int w) { out[w] = store<P>(factors[n] * load(token[at])); });
    });
}

// --- backward ---

template <class T>
struct Backward {
  T* dx;
  acc_t<T>* dscale;  // of each image [B]; null without scale
  const acc_t<T>* dembedding;
  const T* x;
  const acc_t<T>*scale, *probs;
  Sizes sizes;
  acc_t<T> inverse_temperature;
  bool packed;

  /// g [W], probs, 1 / |r_n| and g . u_n, each [N], and block_sum's [33]: all that is shared is counted.
  static std::size_t scratch(const Sizes& s) {
    return (static_cast<std::size_t>(s.width()) + 3 * static_cast<std::size_t>(s.tokens) + warp_size + 1) *
           sizeof(acc_t<T>);
  }
};

// With u_n = r_n where there is no scale, and f = 1. g . embedding is sum_n p_n dp_n = f sum_n p_n (g . u_n),
// and dscale that sum itself, which needs no division by f.
template <class T, bool staged>
__global__ void __launch_bounds__(threads) pool_backward(const Backward<T> a, int scratch) {
  using A = acc_t<T>;
  const Sizes s = a.sizes;
  const std::int64_t image = blockIdx.x;
  A *g = cuda::shared_memory<A>(), *probs = g + s.width(), *inverse = probs + s.tokens,
    *gu = inverse + s.tokens, *for_sums = gu + s.tokens;
  for (int w = thread_index(); w < s.width(); w += threads) g[w] = a.dembedding[image * s.width() + w];
  for (int n = thread_index(); n < s.tokens; n += threads) probs[n] = a.probs[image * s.tokens + n];
  const T* x = a.x + image * s.image();
  T* dx = a.dx + image * s.image();
  if constexpr (staged) {
    T* tile = cuda::shared_memory<T>() + scratch;
    copy_image(tile, x, s.image(), a.packed);
    x = dx = tile;
  }
  __syncthreads();

  for_tokens(s, [&](int n) {
    const T* token = x + n * s.stride();
    A squares = 0, dot = 0;
    for_values(s, [&](int at, int w) {
      const A r = load(token[at]);
      squares += r * r;
      dot += r * g[w];
    });
    squares = warp_sum(squares);
    dot = warp_sum(dot);
    if (lane_index() == 0) {
      inverse[n] = a.scale ? A(1) / std::sqrt(squares) : A(1);
      gu[n] = dot * inverse[n];
    }
  });
  __syncthreads();
  A mean = 0;  // of g . u_n
  for (int n = thread_index(); n < s.tokens; n += threads) mean += probs[n] * gu[n];
  mean = cuda::block_sum(mean, for_sums);
  if (a.scale && thread_index() == 0) a.dscale[image] = *a.scale <= A(10) ? mean : A(0);

  const A factor = factor_of(a.scale), for_logit = factor * a.inverse_temperature / static_cast<A>(s.heads);
  for_tokens(s, [&](int n) {
    const T* token = x + n * s.stride();
    T* out = dx + n * s.stride();
    const A last = for_logit * probs[n] * (gu[n] - mean);
    const A outer = factor * probs[n] * inverse[n], inner = a.scale ? gu[n] * inverse[n] : A(0);
    for_values(s, [&](int at, int w) { out[at] = store<T>(outer * (g[w] - inner * load(token[at]))); });
    for_last(s, [&](int at) { out[at] = store<T>(last); });
  });
  if constexpr (staged) {
    __syncthreads();
    copy_image(a.dx + image * s.image(), dx, s.image(), a.packed);
  }
}

// --- launches ---

Sizes sizes_of(const char* operation, const Tensor& x, std::int64_t heads) {
  VITRAL_CHECK(std::max(x.dim(0), x.dim(1) * x.dim(2)) <= std::numeric_limits<int>::max(),
               "{}: x {} is too large", operation, x.shape());
  return {static_cast<int>(x.dim(1)), static_cast<int>(heads), static_cast<int>(x.dim(2) / heads - 1)};
}

/// Launches `staged` where scratch and image fit into a block's shared memory, else `direct`.
template <class T, class Arguments>
void launch_images(const char* operation, const Tensor& x, const Arguments& a, void (*staged)(Arguments, int),
                   void (*direct)(Arguments, int)) {
  constexpr std::size_t unit = 16;
  const auto room = static_cast<std::size_t>(cuda::limits(x.device()).shared_memory);
  const std::size_t scratch = (Arguments::scratch(a.sizes) + unit - 1) / unit * unit;
  const std::size_t image = static_cast<std::size_t>(a.sizes.image()) * sizeof(T);
  VITRAL_CHECK(scratch <= room,
               "{}: {} tokens of {} numbers need more shared memory than the {} bytes of a block", operation,
               a.sizes.tokens, a.sizes.stride(), room);
  const bool fits = scratch + image <= room;
  cuda::launch(
      {operation, x.device(), static_cast<unsigned>(x.dim(0)), threads, fits ? scratch + image : scratch},
      fits ? staged : direct, a, static_cast<int>(scratch / sizeof(T)));
}

void forward(Tensor& embedding, Tensor& probs, Tensor& patches, const Tensor& x, const Tensor& scale,
             std::int64_t heads, double temperature) {
  const char* operation = "patch_pooling";
  const Sizes sizes = sizes_of(operation, x, heads);
  cuda::dispatch(operation, x.dtype(), [&]<class T>(T) {
    using A = acc_t<T>;
    const auto launch = [&]<class P>(P) {
      launch_images<T>(
          operation, x,
          Forward<T, P>{cuda::data<A>(embedding), cuda::data<A>(probs), cuda::data<P>(patches),
                        cuda::data<T>(x), cuda::data<A>(scale), sizes, static_cast<A>(1 / temperature),
                        cuda::aligned_rows<T>(sizes.image(), cuda::pack_size<T>, cuda::data<T>(x))},
          pool<T, P, true>, pool<T, P, false>);
    };
    if (!patches.defined() || patches.dtype() == x.dtype()) return launch(T{});
    VITRAL_CHECK(patches.dtype() == dtype_of<A>,
                 "{}: patches {} must have the dtype of x {} or of embedding {}", operation,
                 name(patches.dtype()), name(x.dtype()), name(dtype_of<A>));
    if constexpr (!std::is_same_v<T, A>) launch(A{});
  });
}

void backward(Tensor& dx, Tensor& dscale, const Tensor& dembedding, const Tensor& x, const Tensor& scale,
              const Tensor& probs, std::int64_t heads, double temperature) {
  const char* operation = "patch_pooling_backward";
  const Sizes sizes = sizes_of(operation, x, heads);
  const std::int64_t images = x.dim(0);
  cuda::dispatch(operation, x.dtype(), [&]<class T>(T) {
    using A = acc_t<T>;
    Tensor of_images;
    if (scale.defined()) of_images = Tensor({images}, dtype_of<A>, x.device());
    launch_images<T>(
        operation, x,
        Backward<T>{
            cuda::data<T>(dx), cuda::data<A>(of_images), cuda::data<A>(dembedding), cuda::data<T>(x),
            cuda::data<A>(scale), cuda::data<A>(probs), sizes, static_cast<A>(1 / temperature),
            cuda::aligned_rows<T>(sizes.image(), cuda::pack_size<T>, cuda::data<T>(x), cuda::data<T>(dx))},
        pool_backward<T, true>, pool_backward<T, false>);
    if (scale.defined()) kernel::sum_axis(dscale, of_images, {1, images, 1}, 1);
  });
}

const bool implemented = kernel::patch_pooling.implement(Device::Kind::cuda, forward) &&
                         kernel::patch_pooling_backward.implement(Device::Kind::cuda, backward);

}  // namespace
}  // namespace vitral
