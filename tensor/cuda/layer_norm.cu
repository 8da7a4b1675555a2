// layer_norm, and rms_norm, which is the same but for mean and bias (`centred` is with them): one warp per
// row, which it keeps in registers from the statistics to the result (row_packs.h). Rows that are too long
// for that, or no multiple of four numbers, are read again for each pass, from the caches.
//
// Backward: a warp walks over many rows and keeps its columns' sums for dweight and dbias in registers; the
// sums of a block's warps meet in shared memory, those of the blocks [blocks,2,W] (rms_norm: [blocks,1,W]) in
// a second small kernel, always in the same order.
//
// Bound by memory, by the prediction of docs/performance.md.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/cuda/row_packs.h"
#include "tensor/ops/layer_norm.h"

namespace vitral {
namespace {

using cuda::acc_t;
using cuda::load;
using cuda::pack;
using cuda::store;
using cuda::warp_size;
using cuda::warp_sum;

constexpr int warps = 8, threads = warps * warp_size;

template <class A>
struct Statistics {
  A mean, rstd;
};

/// for_each(f) calls f with each number of this lane. The mean from the first pass is off by its rounding,
/// which rstd would magnify where a row hardly varies; what is left of the row's mean takes that away again,
/// from the mean and from the sum of squares.
template <bool centred, class A, class ForEach>
__device__ __forceinline__ Statistics<A> statistics(A per_width, A eps, ForEach&& for_each) {
  A squares = 0;
  if constexpr (centred) {
    A total = 0, rest = 0;
    for_each([&](A x) { total += x; });
    const A mean = warp_sum(total) * per_width;
    for_each([&](A x) {
      const A d = x - mean;
      rest += d;
      squares += d * d;
    });
    rest = warp_sum(rest) * per_width;
    const A var = warp_sum(squares) * per_width - rest * rest;
    return {mean + rest, A(1) / std::sqrt((var < A(0) ? A(0) : var) + eps)};
  } else {
    for_each([&](A x) { squares += x * x; });
    return {0, A(1) / std::sqrt(warp_sum(squares) * per_width + eps)};
  }
}

/// One expression, and its rounding written out, for all kernels: recomputation must give the same bits.
template <class T, class A>
__device__ __forceinline__ T normalized(A x, const Statistics<A>& s, A weight, A bias) {
  return store<T>(std::fma((x - s.mean) * s.rstd, weight, bias));
}

// --- forward, and y from saved statistics ---

enum class Mode { plain, add, saved };

template <bool centred, class T, class S, class D>
struct Forward {
  T *y, *sum;
  S *mean, *rstd;
  const T* x;
  const D* delta;
  const S *weight, *bias;
  int rows, delta_rows, width;
  acc_t<T> per_width, eps;

  __device__ const D* delta_row(int row) const {
    return delta + static_cast<std::int64_t>(row < delta_rows ? row : row % delta_rows) * width;
  }
  /// The row's statistics as backward will see them; `make` computes them.
  template <Mode mode, class Make>
  __device__ __forceinline__ Statistics<acc_t<T>> row_statistics(int row, Make&& make) const {
    if constexpr (mode != Mode::saved) {
      const Statistics<acc_t<T>> s = make();
      const S m = store<S>(s.mean), r = store<S>(s.rstd);
      if (threadIdx.x % warp_size == 0) {
        if constexpr (centred) mean[row] = m;
        rstd[row] = r;
      }
      return {load(m), load(r)};
    } else {
      return {centred ? load(mean[row]) : acc_t<T>(0), load(rstd[row])};
    }
  }
};

template <bool centred, class T, class S, class D, Mode mode, int packs>
__global__ void __launch_bounds__(threads) short_rows(const Forward<centred, T, S, D> a) {
  using A = acc_t<T>;
  const int row = static_cast<int>(blockIdx.x * warps + threadIdx.x / warp_size);
  if (row >= a.rows) return;
  const std::int64_t begin = static_cast<std::int64_t>(row) * a.width + cuda::lane_column();

  A v[packs][pack];
  const T* x = a.x + begin;
  cuda::for_packs<packs>(a.width, [&](int p, int at) { cuda::read_pack(v[p], x + at); });
  if constexpr (mode == Mode::add) {
    T* out = a.sum + begin;
    const D* delta = a.delta_row(row) + cuda::lane_column();
    cuda::for_packs<packs>(a.width, [&](int p, int at) {
      A d[pack];
      cuda::read_pack(d, delta + at);
      cuda::Pack<T, pack> sum;
#pragma unroll
      for (int i = 0; i < pack; ++i) {
        sum.v[i] = store<T>(v[p][i] + d[i]);
        v[p][i] = load(sum.v[i]);
      }
      cuda::store_pack(out + at, sum);
    });
  }

  const auto for_each = [&](auto&& f) {
    cuda::for_packs<packs>(a.width, [&](int p, int) {
#pragma unroll
      for (int i = 0; i < pack; ++i) f(v[p][i]);
    });
  };
  const auto s =
      a.template row_statistics<mode>(row, [&] { return statistics<centred>(a.per_width, a.eps, for_each); });
  T* out = a.y + begin;
  const int column = cuda::lane_column();
  cuda::for_packs<packs>(a.width, [&](int p, int at) {
    A w[pack], b[pack] = {};
    cuda::read_pack(w, a.weight + column + at);
    if constexpr (centred) cuda::read_pack(b, a.bias + column + at);
    cuda::Pack<T, pack> y;
#pragma unroll
    for (int i = 0; i < pack; ++i) y.v[i] = normalized<T>(v[p][i], s, w[i], b[i]);
    cuda::store_pack(out + at, y);
  });
}

template <bool centred, class T, class S, class D, Mode mode>
__global__ void __launch_bounds__(threads) long_rows(const Forward<centred, T, S, D> a) {
  using A = acc_t<T>;
  const int row = static_cast<int>(blockIdx.x * warps + threadIdx.x / warp_size);
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  if (row >= a.rows) return;
  const std::int64_t begin = static_cast<std::int64_t>(row) * a.width;

  const T* x = a.x + begin;
  if constexpr (mode == Mode::add) {
    T* sum = a.sum + begin;
    const D* delta = a.delta_row(row);
    for (int c = lane; c < a.width; c += warp_size) sum[c] = store<T>(load(x[c]) + load(delta[c]));
    x = sum;
  }
  const auto for_each = [&](auto&& f) {
    for (int c = lane; c < a.width; c += warp_size) f(load(x[c]));
  };
  const auto s =
      a.template row_statistics<mode>(row, [&] { return statistics<centred>(a.per_width, a.eps, for_each); });
  for (int c = lane; c < a.width; c += warp_size)
    a.y[begin + c] = normalized<T>(load(x[c]), s, load(a.weight[c]), centred ? load(a.bias[c]) : A(0));
}

// --- backward ---

template <bool centred, class T, class S>
struct Backward {
  static constexpr int sums = centred ? 2 : 1;
  T* dx;
  const T *dy, *x;
  const S *weight, *mean, *rstd;
  acc_t<T>* partial;  // [blocks,sums,W]: for dweight and, with mean and bias, for dbias
  int rows, width;
  acc_t<T> per_width;
  bool add;  // to what dx holds

  __device__ acc_t<T> mean_of(int row) const {
    if constexpr (centred)
      return load(mean[row]);
    else
      return 0;
  }
};

/// The block's part of `partial` from the `count` sums of each of its warps.
template <class A>
__device__ __forceinline__ void add_warps(A* partial, const A* sums, int count) {
  __syncthreads();
  const int block_warps = static_cast<int>(blockDim.x) / warp_size;
  A* out = partial + static_cast<std::int64_t>(blockIdx.x) * count;
  for (int c = static_cast<int>(threadIdx.x); c < count; c += static_cast<int>(blockDim.x)) {
    A total = 0;
    for (int w = 0; w < block_warps; ++w) total += sums[w * count + c];
    out[c] = total;
  }
}

// Lanes that lie behind the row work on zeros.
template <bool centred, class T, class S, int packs>
__global__ void __launch_bounds__(threads, packs * sizeof(T) <= 10 ? 2 : 1)
    backward_short_rows(const Backward<centred, T, S> a) {
  using A = acc_t<T>;
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  A sum_w[packs][pack] = {}, sum_b[packs][pack] = {};

  for (int row = static_cast<int>(blockIdx.x) * warps + warp; row < a.rows;
       row += static_cast<int>(gridDim.x) * warps) {
    const std::int64_t begin = static_cast<std::int64_t>(row) * a.width + cuda::lane_column();
    cuda::RawPack<T> raw_x[packs] = {}, raw_dy[packs] = {}, raw_residual[packs] = {};
    cuda::for_packs<packs>(a.width, [&](int p, int at) {
      raw_x[p].read(a.x + begin + at);
      raw_dy[p].read(a.dy + begin + at);
      if (a.add) raw_residual[p].read(a.dx + begin + at);
    });
    const A mean = a.mean_of(row), rstd = load(a.rstd[row]);

    A xhat[packs][pack], g[packs][pack], mean_g = 0, mean_gx = 0;
#pragma unroll
    for (int p = 0; p < packs; ++p) {
      raw_x[p].unpack(xhat[p]);
      raw_dy[p].unpack(g[p]);
      cuda::RawPack<S> raw_weight = {};
      if (cuda::lane_column() + p * warp_size * pack < a.width)
        raw_weight.read(a.weight + cuda::lane_column() + p * warp_size * pack);
      A weight[pack];
      raw_weight.unpack(weight);
#pragma unroll
      for (int i = 0; i < pack; ++i) {
        const A d = g[p][i], h = (xhat[p][i] - mean) * rstd;
        xhat[p][i] = h;
        g[p][i] = d * weight[i];
        sum_w[p][i] += d * h;
        if constexpr (centred) {
          sum_b[p][i] += d;
          mean_g += g[p][i];
        }
        mean_gx += g[p][i] * h;
      }
    }
    if constexpr (centred) mean_g = warp_sum(mean_g) * a.per_width;
    mean_gx = warp_sum(mean_gx) * a.per_width;
    T* out = a.dx + begin;
    cuda::for_packs<packs>(a.width, [&](int p, int at) {
      A residual[pack];
      raw_residual[p].unpack(residual);
      cuda::Pack<T, pack> dx;
#pragma unroll
      for (int i = 0; i < pack; ++i)
        dx.v[i] = store<T>(residual[i] + rstd * (g[p][i] - mean_g - xhat[p][i] * mean_gx));
      cuda::store_pack(out + at, dx);
    });
  }

  A* sums = cuda::shared_memory<A>() + warp * a.sums * a.width + cuda::lane_column();  // [warps,sums,W]
  cuda::for_packs<packs>(a.width, [&](int p, int at) {
#pragma unroll
    for (int i = 0; i < pack; ++i) {
      sums[at + i] = sum_w[p][i];
      if constexpr (centred) sums[a.width + at + i] = sum_b[p][i];
    }
  });
  add_warps(a.partial, cuda::shared_memory<A>(), a.sums * a.width);
}

/// Each lane owns its columns' sums, in shared memory [warps,sums,W], or where not even those of one warp
/// have room there, in `partial` (blocks are then of one warp).
template <bool centred, class T, class S>
__global__ void __launch_bounds__(threads)
    backward_long_rows(const Backward<centred, T, S> a, bool in_shared) {
  using A = acc_t<T>;
  const int block_warps = static_cast<int>(blockDim.x) / warp_size;
  const int warp = static_cast<int>(threadIdx.x) / warp_size,
            lane = static_cast<int>(threadIdx.x) % warp_size;
  const int count = a.sums * a.width;
  A* sum_w = in_shared ? cuda::shared_memory<A>() + warp * count
                       : a.partial + static_cast<std::int64_t>(blockIdx.x) * count;
  A* sum_b = sum_w + count - a.width;  // the same without dbias
  for (int c = lane; c < a.width; c += warp_size) sum_w[c] = sum_b[c] = 0;

  for (int row = static_cast<int>(blockIdx.x) * block_warps + warp; row < a.rows;
       row += static_cast<int>(gridDim.x) * block_warps) {
    const std::int64_t begin = static_cast<std::int64_t>(row) * a.width;
    const A mean = a.mean_of(row), rstd = load(a.rstd[row]);
    A mean_g = 0, mean_gx = 0;
    for (int c = lane; c < a.width; c += warp_size) {
      const A d = load(a.dy[begin + c]), h = (load(a.x[begin + c]) - mean) * rstd, g = d * load(a.weight[c]);
      sum_w[c] += d * h;
      if constexpr (centred) {
        sum_b[c] += d;
        mean_g += g;
      }
      mean_gx += g * h;
    }
    if constexpr (centred) mean_g = warp_sum(mean_g) * a.per_width;
    mean_gx = warp_sum(mean_gx) * a.per_width;
    for (int c = lane; c < a.width; c += warp_size) {
      const A h = (load(a.x[begin + c]) - mean) * rstd, g = load(a.dy[begin + c]) * load(a.weight[c]);
      const A d = rstd * (g - mean_g - h * mean_gx);
      a.dx[begin + c] = store<T>(a.add ? load(a.dx[begin + c]) + d : d);
    }
  }
  if (in_shared) add_warps(a.partial, cuda::shared_memory<A>(), count);
}

constexpr int groups = 16;

/// dweight and dbias from `partial`: 32 columns a block, their blocks dealt to `groups` warps.
template <class S, class A>
__global__ void __launch_bounds__(groups* warp_size)
    add_blocks(S* dweight, S* dbias, const A* partial, int blocks, int count, int width) {
  __shared__ A sums[groups][warp_size];
  const int group = static_cast<int>(threadIdx.x) / warp_size,
            lane = static_cast<int>(threadIdx.x) % warp_size;
  const int column = static_cast<int>(blockIdx.x) * warp_size + lane;
  A total = 0;
  if (column < count)
    for (int b = group; b < blocks; b += groups)
      total += partial[static_cast<std::int64_t>(b) * count + column];
  sums[group][lane] = total;
  __syncthreads();
  if (group != 0 || column >= count) return;
  for (int i = 1; i < groups; ++i) total += sums[i][lane];
  (column < width ? dweight[column] : dbias[column - width]) = store<S>(total);
}

// --- choice of the kernel ---

int checked(const char* operation, std::int64_t size) {
  VITRAL_CHECK(size <= std::numeric_limits<int>::max() / 2, "{}: {} rows or columns are too many", operation,
               size);
  return static_cast<int>(size);
}

template <Mode mode, bool centred, class T, class S, class D>
void launch_forward(const char* operation, Device device, const Forward<centred, T, S, D>& a) {
  const bool aligned = cuda::aligned_rows<T>(a.width, pack, a.y, a.sum, a.x) &&
                       cuda::aligned_rows<D>(a.width, pack, a.delta) &&
                       cuda::aligned_rows<S>(a.width, pack, a.weight, a.bias);
  const cuda::Launch where(operation, device, cuda::blocks_for(a.rows, warps), threads);
  cuda::dispatch_packs(a.width, aligned, [&]<int packs>(std::integral_constant<int, packs>) {
    if constexpr (packs == 0)
      cuda::launch(where, long_rows<centred, T, S, D, mode>, a);
    else
      cuda::launch(where, short_rows<centred, T, S, D, mode, packs>, a);
  });
}

/// sum and delta are undefined where they have no part.
template <Mode mode, bool centred>
void run_forward(const char* operation, const Tensor& sum, const Tensor& y, const RowStatistics& saved,
                 const Tensor& x, const Tensor& delta, const Tensor& weight, const Tensor& bias, double eps) {
  const int rows = checked(operation, saved.rstd.numel()), width = checked(operation, weight.numel());
  cuda::dispatch_weighted(operation, x, weight, [&]<class T, class S>(T, S) {
    const auto launch_with = [&]<class D>(D) {
      using A = acc_t<T>;
      const auto delta_rows = width > 0 ? static_cast<int>(delta.numel() / width) : rows;
      launch_forward<mode>(
          operation, x.device(),
          Forward<centred, T, S, D>{cuda::data<T>(y), cuda::data<T>(sum), cuda::data<S>(saved.mean),
                                    cuda::data<S>(saved.rstd), cuda::data<T>(x), cuda::data<D>(delta),
                                    cuda::data<S>(weight), cuda::data<S>(bias), rows, delta_rows, width,
                                    static_cast<A>(1.0 / width), static_cast<A>(eps)});
    };
    if (!delta.defined() || delta.dtype() == x.dtype()) return launch_with(T{});
    VITRAL_CHECK(delta.dtype() == weight.dtype(), "{}: delta {} must have the dtype of x {} or of weight {}",
                 operation, name(delta.dtype()), name(x.dtype()), name(weight.dtype()));
    if constexpr (mode == Mode::add && !std::is_same_v<T, S>) launch_with(S{});
  });
}

template <bool centred>
void forward(Tensor& y, const RowStatistics& saved, const Tensor& x, const Tensor& weight, const Tensor& bias,
             double eps) {
  const char* operation = centred ? "layer_norm" : "rms_norm";
  run_forward<Mode::plain, centred>(operation, {}, y, saved, x, {}, weight, bias, eps);
}

template <bool centred>
void add_forward(Tensor& sum, Tensor& y, const RowStatistics& saved, const Tensor& x, const Tensor& delta,
                 const Tensor& weight, const Tensor& bias, double eps) {
  const char* operation = centred ? "add_layer_norm" : "add_rms_norm";
  run_forward<Mode::add, centred>(operation, sum, y, saved, x, delta, weight, bias, eps);
}

template <bool centred>
void apply(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias, const RowStatistics& saved) {
  const char* operation = centred ? "layer_norm_apply" : "rms_norm_apply";
  run_forward<Mode::saved, centred>(operation, {}, y, saved, x, {}, weight, bias, 0);
}

template <bool centred, class T, class S>
void launch_backward(const char* operation, Device device, Backward<centred, T, S> a, Tensor& dweight,
                     Tensor& dbias) {
  using A = acc_t<T>;
  const int count = a.sums * a.width;
  const cuda::DeviceLimits& limits = cuda::limits(device);
  const bool aligned =
      cuda::aligned_rows<T>(a.width, pack, a.dx, a.dy, a.x) && cuda::aligned_rows<S>(a.width, pack, a.weight);
  const std::size_t warp_bytes = static_cast<std::size_t>(std::max(count, 1)) * sizeof(A);
  const int room = static_cast<int>(static_cast<std::size_t>(limits.shared_memory) / warp_bytes);  // warps
  const int block_warps = std::clamp(room, 1, warps);
  const int blocks = std::min(2 * limits.multiprocessors, (a.rows + block_warps - 1) / block_warps);
  const Tensor partial({blocks, a.sums, a.width}, dtype_of<A>, device);
  a.partial = cuda::data<A>(partial);
  const bool in_shared = room > 0;
  const cuda::Launch where(operation, device, static_cast<unsigned>(blocks),
                           static_cast<unsigned>(block_warps * warp_size),
                           in_shared ? static_cast<std::size_t>(block_warps) * warp_bytes : 0);
  cuda::dispatch_packs(a.width, aligned && block_warps == warps,
                       [&]<int packs>(std::integral_constant<int, packs>) {
                         if constexpr (packs == 0)
                           cuda::launch(where, backward_long_rows<centred, T, S>, a, in_shared);
                         else
                           cuda::launch(where, backward_short_rows<centred, T, S, packs>, a);
                       });
  cuda::launch({operation, device, cuda::blocks_for(count, warp_size), groups * warp_size}, add_blocks<S, A>,
               cuda::data<S>(dweight), cuda::data<S>(dbias), a.partial, blocks, count, a.width);
}

template <bool centred>
void backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x,
              const Tensor& weight, const RowStatistics& saved, bool add) {
  const char* operation = centred ? "layer_norm_backward" : "rms_norm_backward";
  const int rows = checked(operation, saved.rstd.numel()), width = checked(operation, weight.numel());
  cuda::dispatch_weighted(operation, x, weight, [&]<class T, class S>(T, S) {
    launch_backward(
        operation, x.device(),
        Backward<centred, T, S>{cuda::data<T>(dx), cuda::data<T>(dy), cuda::data<T>(x), cuda::data<S>(weight),
                                cuda::data<S>(saved.mean), cuda::data<S>(saved.rstd), nullptr, rows, width,
                                static_cast<acc_t<T>>(1.0 / width), add},
        dweight, dbias);
  });
}

const bool implemented = kernel::layer_norm.implement(Device::Kind::cuda, forward<true>) &&
                         kernel::rms_norm.implement(Device::Kind::cuda, forward<false>) &&
                         kernel::add_layer_norm.implement(Device::Kind::cuda, add_forward<true>) &&
                         kernel::add_rms_norm.implement(Device::Kind::cuda, add_forward<false>) &&
                         kernel::layer_norm_apply.implement(Device::Kind::cuda, apply<true>) &&
                         kernel::rms_norm_apply.implement(Device::Kind::cuda, apply<false>) &&
                         kernel::layer_norm_backward.implement(Device::Kind::cuda, backward<true>) &&
                         kernel::rms_norm_backward.implement(Device::Kind::cuda, backward<false>);

}  // namespace
}  // namespace vitral
