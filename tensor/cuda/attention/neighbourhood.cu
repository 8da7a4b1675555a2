// Neighbourhood attention. In bfloat16 it runs on tensor cores (tensor_cores.cu). Here are float32
// and float64 for windows of at most 3x3 on a grid alone, with the scores of a query in registers; what
// neither of them holds, and tokens behind the grid, go by general.cu.
//
// A block takes `group` heads of one image and copies their columns of q, k, v (and dout) into shared memory,
// rows an odd number of words apart. A thread is a query of one head, lanes are neighbouring tokens: each
// number of q and each of the nine neighbours' keys is one access without bank conflicts for one product. The
// result replaces q and is written row by row. Backward: as queries, threads leave p and ds of each neighbour
// in shared memory, then as keys they gather dv = sum p dout and dk = sum ds q from there, in place of v and
// k. So every sum is made by one thread, in one order.
//
// docs/performance.md predicts the time.
#include <cmath>
#include <limits>
#include <optional>

#include "tensor/cuda/async_copy.h"
#include "tensor/cuda/attention/paths.h"

namespace vitral {
namespace cuda {
namespace {

constexpr int most_threads = 256;
constexpr int window_size = 9;  // 3 x 3: neighbours i and window_size - 1 - i are opposite

struct Layout {
  AttentionShape shape;
  int group, groups, stride;  // heads of a block, blocks of an image, numbers from row to row of a tile
  constexpr int tile() const { return shape.tokens * stride; }
  constexpr int units() const { return shape.tokens * group; }
};

/// The block's part, and its tiles.
template <class T>
struct Part {
  std::int64_t image;
  int first_head, heads;
  T* tiles;
  __device__ explicit Part(const Layout& l)
      : image(blockIdx.x / static_cast<unsigned>(l.groups)),
        first_head(static_cast<int>(blockIdx.x % static_cast<unsigned>(l.groups)) * l.group),
        heads(min(l.group, l.shape.heads - first_head)),
        tiles(shared_memory<T>()) {}

  /// Calls f(in a tile, in a tensor of `parts` parts a row) for each number of a tile.
  template <class F>
  __device__ void for_each(const Layout& l, int parts, const F& f) const {
    const std::int64_t width = l.shape.width();
    const std::int64_t first = image * l.shape.tokens * parts * width + first_head * l.shape.size;
    for (Walk at(heads * l.shape.size); at.row < l.shape.tokens; at.step())
      f(at.row * l.stride + at.column, first + at.row * parts * width + at.column);
  }
  /// Calls f(unit, token, column of the head) for the thread's queries (keys).
  template <class F>
  __device__ void for_each_unit(const Layout& l, const F& f) const {
    for (int unit = static_cast<int>(threadIdx.x); unit < l.shape.tokens * heads;
         unit += static_cast<int>(blockDim.x)) {
      const int head = unit / l.shape.tokens;
      f(unit, unit - head * l.shape.tokens, head * l.shape.size);
    }
  }
};

/// The window around a token; where there is no neighbour, the token itself stands for it.
struct Window {
  int token[window_size];
  unsigned seen = 0;
  __device__ Window(int center, const AttentionShape& s) {
    const int row = center / s.grid_columns, column = center - row * s.grid_columns;
#pragma unroll
    for (int i = 0; i < window_size; ++i) {
      const int down = i / 3 - 1, right = i % 3 - 1, r = row + down * s.dilation,
                c = column + right * s.dilation;
      const bool there = abs(down) <= s.reach_rows && abs(right) <= s.reach_columns && r >= 0 &&
                         r < s.grid_rows && c >= 0 && c < s.grid_columns;
      token[i] = there ? r * s.grid_columns + c : center;
      seen |= (there ? 1U : 0U) << i;
    }
  }
  __device__ bool sees(int i) const { return seen >> i & 1U; }
};

/// Scores to weights that add up to 1.
template <class T>
__device__ void softmax(T (&s)[window_size], const Window& window, T scale) {
  T maximum = -std::numeric_limits<T>::infinity(), sum = 0;
#pragma unroll
  for (int i = 0; i < window_size; ++i) {
    s[i] = window.sees(i) ? s[i] * scale : -std::numeric_limits<T>::infinity();
    maximum = s[i] > maximum ? s[i] : maximum;
  }
#pragma unroll
  for (int i = 0; i < window_size; ++i) sum += s[i] = exp(s[i] - maximum);
  const T inverse = 1 / sum;
#pragma unroll
  for (int i = 0; i < window_size; ++i) s[i] *= inverse;
}

template <class T>
__global__ void __launch_bounds__(most_threads) forward_kernel(T* out, const T* qkv, Layout l, T scale) {
  const Part<T> part(l);
  T *const q = part.tiles, *const k = q + l.tile(), *const v = k + l.tile();
  part.for_each(l, 3, [&](int in_tile, std::int64_t at) {
#pragma unroll
    for (int i = 0; i < 3; ++i) start_copy<1>(q + i * l.tile() + in_tile, qkv + at + i * l.shape.width());
  });
  wait_for_copies();
  __syncthreads();
  part.for_each_unit(l, [&](int, int token, int column) {
    const Window window(token, l.shape);
    T* const own = q + token * l.stride + column;
    T s[window_size] = {};
    for (int d = 0; d < l.shape.size; ++d)
#pragma unroll
      for (int i = 0; i < window_size; ++i) s[i] += own[d] * k[window.token[i] * l.stride + column + d];
    softmax(s, window, scale);
    for (int d = 0; d < l.shape.size; ++d) {
      T sum = 0;
#pragma unroll
      for (int i = 0; i < window_size; ++i) sum += s[i] * v[window.token[i] * l.stride + column + d];
      own[d] = sum;
    }
  });
  __syncthreads();
  part.for_each(l, 1, [&](int in_tile, std::int64_t at) { out[at] = q[in_tile]; });
}

/// Tiles q, k, v, dout, dq; then p and ds [window_size, units].
template <class T>
__global__ void __launch_bounds__(most_threads)
    backward_kernel(T* dqkv, const T* dout, const T* qkv, Layout l, T scale) {
  const Part<T> part(l);
  T *const q = part.tiles, *const k = q + l.tile(), *const v = k + l.tile(), *const g = v + l.tile(),
           *const dq = g + l.tile(), *const p = dq + l.tile(), *const ds = p + window_size * l.units();
  part.for_each(l, 3, [&](int in_tile, std::int64_t at) {
#pragma unroll
    for (int i = 0; i < 3; ++i) start_copy<1>(q + i * l.tile() + in_tile, qkv + at + i * l.shape.width());
  });
  part.for_each(l, 1, [&](int in_tile, std::int64_t at) { start_copy<1>(g + in_tile, dout + at); });
  wait_for_copies();
  __syncthreads();

  part.for_each_unit(l, [&](int unit, int token, int column) {
    const Window window(token, l.shape);
    const int own = token * l.stride + column;
    T s[window_size] = {}, dp[window_size] = {};
    for (int d = 0; d < l.shape.size; ++d)
#pragma unroll
      for (int i = 0; i < window_size; ++i) {
        const int at = window.token[i] * l.stride + column + d;
        s[i] += q[own + d] * k[at];
        dp[i] += g[own + d] * v[at];
      }
    softmax(s, window, scale);
    T mean = 0;
#pragma unroll
    for (int i = 0; i < window_size; ++i) mean += s[i] * dp[i];
#pragma unroll
    for (int i = 0; i < window_size; ++i) {
      dp[i] = s[i] * (dp[i] - mean) * scale;
      p[i * l.units() + unit] = s[i];
      ds[i * l.units() + unit] = dp[i];
    }
    for (int d = 0; d < l.shape.size; ++d) {
      T sum = 0;
#pragma unroll
      for (int i = 0; i < window_size; ++i) sum += dp[i] * k[window.token[i] * l.stride + column + d];
      dq[own + d] = sum;
    }
  });
  __syncthreads();

  part.for_each_unit(l, [&](int unit, int token, int column) {
    const Window window(token, l.shape);
    const int own = token * l.stride + column;
    T weight[window_size], slope[window_size];
#pragma unroll
    for (int i = 0; i < window_size; ++i) {  // what neighbour i left for the one opposite
      const int at = (window_size - 1 - i) * l.units() + unit - token + window.token[i];
      weight[i] = window.sees(i) ? p[at] : T(0);
      slope[i] = window.sees(i) ? ds[at] : T(0);
    }
    for (int d = 0; d < l.shape.size; ++d) {
      T dk = 0, dv = 0;
#pragma unroll
      for (int i = 0; i < window_size; ++i) {
        const int at = window.token[i] * l.stride + column + d;
        dv += weight[i] * g[at];
        dk += slope[i] * q[at];
      }
      k[own + d] = dk;
      v[own + d] = dv;
    }
  });
  __syncthreads();
  part.for_each(l, 3, [&](int in_tile, std::int64_t at) {
    dqkv[at] = dq[in_tile];
    dqkv[at + l.shape.width()] = k[in_tile];
    dqkv[at + 2 * l.shape.width()] = v[in_tile];
  });
}

// --- the host's side ---

template <class T>
std::size_t shared_bytes(const Layout& l, int tiles, int weights) {
  const auto numbers = std::size_t{1} * static_cast<std::size_t>(l.stride) * static_cast<std::size_t>(tiles) +
                       static_cast<std::size_t>(l.group) * static_cast<std::size_t>(weights);
  return numbers * static_cast<std::size_t>(l.shape.tokens) * sizeof(T);
}

/// As many heads a block as leave room for four of them on a multiprocessor, at least one; nothing where that
/// does not fit, the window is too large, or there are registers.
template <class T>
std::optional<Layout> plan(const AttentionShape& s, int tiles, int weights, const DeviceLimits& limits) {
  if (s.reach_rows > 1 || s.reach_columns > 1 || s.registers > 0) return {};
  const auto limit = static_cast<std::size_t>(limits.shared_memory);
  std::optional<Layout> best;
  for (int group = 1; group <= s.heads; ++group) {
    const Layout l{
        .shape = s, .group = group, .groups = (s.heads + group - 1) / group, .stride = group * s.size | 1};
    if (shared_bytes<T>(l, tiles, weights) > (best ? limit / 4 - 1024 : limit)) break;
    best = l;
  }
  return best;
}

template <class T>
Launch launch_of(const char* operation, Device device, const Layout& l, int tiles, int weights) {
  const int threads = std::min((l.units() + warp_size - 1) / warp_size * warp_size, most_threads);
  return {operation, device, blocks_for(l.shape.batch * l.groups, 1), static_cast<unsigned>(threads),
          shared_bytes<T>(l, tiles, weights)};
}

template <class T>
bool in_registers(Tensor& out, const Tensor& qkv, const AttentionShape& s) {
  constexpr int tiles = 3;
  const auto l = plan<T>(s, tiles, 0, limits(qkv.device()));
  if (!l) return false;
  launch(launch_of<T>("neighbourhood_attention", qkv.device(), *l, tiles, 0), forward_kernel<T>, data<T>(out),
         data<const T>(qkv), *l, scale_of<T>(s));
  return true;
}

template <class T>
bool in_registers_backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const AttentionShape& s) {
  constexpr int tiles = 5, weights = 2 * window_size;
  const auto l = plan<T>(s, tiles, weights, limits(qkv.device()));
  if (!l) return false;
  launch(launch_of<T>("neighbourhood_attention_backward", qkv.device(), *l, tiles, weights),
         backward_kernel<T>, data<T>(dqkv), data<const T>(dout), data<const T>(qkv), *l, scale_of<T>(s));
  return true;
}

}  // namespace
}  // namespace cuda

namespace {

void forward(Tensor& out, const Tensor& qkv, std::int64_t heads, Neighbourhood n) {
  if (qkv.numel() == 0) return;
  const cuda::AttentionShape s = cuda::neighbourhood(qkv, heads, n);
  constexpr auto operation = "neighbourhood_attention";
  const bool done = qkv.dtype() == DType::float32   ? cuda::in_registers<float>(out, qkv, s)
                    : qkv.dtype() == DType::float64 ? cuda::in_registers<double>(out, qkv, s)
                                                    : cuda::tensor_core_attention(operation, out, {}, qkv, s);
  if (!done) cuda::general_attention(operation, out, {}, qkv, s);
}

void backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, std::int64_t heads, Neighbourhood n) {
  if (qkv.numel() == 0) return;
  const cuda::AttentionShape s = cuda::neighbourhood(qkv, heads, n);
  constexpr auto operation = "neighbourhood_attention_backward";
  const bool done = qkv.dtype() == DType::float32 ? cuda::in_registers_backward<float>(dqkv, dout, qkv, s)
                    : qkv.dtype() == DType::float64
                        ? cuda::in_registers_backward<double>(dqkv, dout, qkv, s)
                        : cuda::tensor_core_attention_backward(operation, dqkv, dout, qkv, s);
  if (!done) cuda::general_attention_backward(operation, dqkv, dout, qkv, s);
}

const bool implemented = kernel::neighbourhood_attention.implement(Device::Kind::cuda, forward) &&
                         kernel::neighbourhood_attention_backward.implement(Device::Kind::cuda, backward);

}  // namespace
}  // namespace vitral
