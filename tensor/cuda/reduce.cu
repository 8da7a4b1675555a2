// Sums, in two stages where one block would be too slow: blocks sum pieces, a second launch sums the pieces
// in their order. Which block sums what follows from the shape alone, so that the same bits come out every
// time.
//
// The hot case is the sum of columns, the gradient of a bias: x [64 B, 528 to 2112]. A block takes a strip of
// columns 128 bytes wide and some hundred rows; 8 threads side by side read 16 bytes each, 32 rows at once,
// four times over before they add: 16 KB under way for a block, six blocks to a multiprocessor. About 2048
// blocks each leave one row of partial sums, 1% of what was read.
// Read for an image: 64 x W x 2 bytes, 270 KB for the 2112 columns of the first MLP product.
#include "tensor/cuda/device.h"
#include "tensor/cuda/divider.h"
#include "tensor/ops/reduce.h"

namespace vitral {
namespace {

using cuda::acc_t;
using cuda::Pack;

constexpr int threads = 256;
constexpr int warps = threads / cuda::warp_size;
constexpr int unrolled = 4;            // loads that a thread has under way
constexpr std::int64_t blocks = 2048;  // wanted: two to three rounds of a GPU with 132 multiprocessors

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// What becomes of a sum.
template <class A>
struct Result {
  A factor = 1;
  bool accumulate = false;
  template <class Out>
  __device__ void put(Out* y, A sum) const {
    sum *= factor;
    if (accumulate) sum += cuda::load(*y);
    *y = cuda::store<Out>(sum);
  }
};

struct Plain {
  template <class T>
  __device__ acc_t<T> operator()(T x) const {
    return cuda::load(x);
  }
};
struct SquareInDouble {
  template <class T>
  __device__ double operator()(T x) const {
    const auto v = static_cast<double>(cuda::load(x));
    return v * v;
  }
};

// --- contiguous numbers ---

/// This lane's part of the sum of map(x[i]) over `count` numbers; x at a multiple of the pack.
template <class A, int n, class Map, class T>
__device__ A lane_sum(const T* x, std::int64_t count, int lane, int lanes, Map map) {
  const std::int64_t packs = count / n;
  A sum = 0;
  const auto add = [&](const Pack<T, n>& p) {
#pragma unroll
    for (int j = 0; j < n; ++j) sum += map(p.v[j]);
  };
  std::int64_t i = lane;
  for (; i + (unrolled - 1) * lanes < packs; i += unrolled * lanes) {
    Pack<T, n> p[unrolled];
#pragma unroll
    for (int k = 0; k < unrolled; ++k) p[k] = cuda::load_pack<n>(x + (i + k * lanes) * n);
#pragma unroll
    for (int k = 0; k < unrolled; ++k) add(p[k]);
  }
  for (; i < packs; i += lanes) add(cuda::load_pack<n>(x + i * n));
  for (i = packs * n + lane; i < count; i += lanes) sum += map(x[i]);
  return sum;
}

// y [rows], x [rows, width]: a warp for each row.
template <class A, int n, class Map, class T, class Out>
__global__ void __launch_bounds__(threads)
    row_sums(Out* y, const T* x, std::int64_t rows, std::int64_t width, Result<A> result) {
  const int lane = static_cast<int>(threadIdx.x) % cuda::warp_size;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / cuda::warp_size;
  if (row >= rows) return;
  const A sum = cuda::warp_sum(lane_sum<A, n>(x + row * width, width, lane, cuda::warp_size, Map{}));
  if (lane == 0) result.put(y + row, sum);
}

// y [rows, pieces], x [rows, width]: a block for each piece.
template <class A, int n, class Map, class T, class Out>
__global__ void __launch_bounds__(threads)
    piece_sums(Out* y, const T* x, std::int64_t width, std::int64_t piece, std::int64_t pieces,
               Result<A> result) {
  __shared__ A scratch[cuda::warp_size + 1];
  const std::int64_t row = blockIdx.x / pieces, begin = blockIdx.x % pieces * piece;
  const std::int64_t count = min(piece, width - begin);
  const A sum = cuda::block_sum(
      lane_sum<A, n>(x + row * width + begin, count, static_cast<int>(threadIdx.x), threads, Map{}), scratch);
  if (threadIdx.x == 0) result.put(y + blockIdx.x, sum);
}

/// y[r] = result of the sum of map(x[r,i]);  x [rows, width].
template <class A, class Map, class T, class Out>
void sum_contiguous(const char* operation, Device device, Out* y, const T* x, std::int64_t rows,
                    std::int64_t width, Result<A> result) {
  constexpr std::int64_t for_a_warp = 4096, shortest_piece = 16384;
  const auto run = [&]<int n>(std::integral_constant<int, n>) {
    if (width <= for_a_warp)
      return cuda::launch({operation, device, cuda::blocks_for(rows, warps), threads},
                          row_sums<A, n, Map, T, Out>, y, x, rows, width, result);
    const std::int64_t even = ceil_div(rows * width, blocks);
    const std::int64_t piece = ceil_div(std::max(even, shortest_piece), threads) * threads;
    const std::int64_t pieces = ceil_div(width, piece);
    const cuda::Launch launch(operation, device, cuda::blocks_for(rows * pieces, 1), threads);
    if (pieces == 1)
      return cuda::launch(launch, piece_sums<A, n, Map, T, Out>, y, x, width, piece, pieces, result);
    const Tensor partial({rows, pieces}, dtype_of<A>, device);
    A* parts = cuda::data<A>(partial);
    cuda::launch(launch, piece_sums<A, n, Map, T, A>, parts, x, width, piece, pieces, Result<A>{});
    sum_contiguous<A, Plain>(operation, device, y, parts, rows, pieces, result);
  };
  constexpr int n = cuda::pack_size<T>;
  if (cuda::aligned_rows<T>(rows == 1 ? n : width, n, x))
    run(std::integral_constant<int, n>{});
  else
    run(std::integral_constant<int, 1>{});
}

// --- columns ---

/// x [outer, n, inner] in chunks of rows and strips of columns.
struct Cut {
  std::int64_t n, inner, chunk, chunks, strips;
};

// y [outer, chunks, inner]: a block for each chunk of each strip, `lanes` packs wide.
template <int n, int lanes, class T, class Out>
__global__ void __launch_bounds__(threads) column_sums(Out* y, const T* x, Cut cut, Result<acc_t<T>> result) {
  using A = acc_t<T>;
  constexpr int rows = threads / lanes;
  __shared__ A of_warp[warps][lanes * n];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % lanes;
  const std::int64_t strip = blockIdx.x % cut.strips, part = blockIdx.x / cut.strips;
  const std::int64_t o = part / cut.chunks, begin = part % cut.chunks * cut.chunk;
  const std::int64_t end = min(cut.n, begin + cut.chunk);
  const std::int64_t first_column = strip * lanes * n, column = first_column + lane * n;

  A sum[n]{};
  const auto add = [&](const Pack<T, n>& p) {
#pragma unroll
    for (int j = 0; j < n; ++j) sum[j] += cuda::load(p.v[j]);
  };
  if (column < cut.inner) {
    std::int64_t r = begin + thread / lanes;
    const T* from = x + (o * cut.n + r) * cut.inner + column;
    const std::int64_t step = rows * cut.inner;
    for (; r + (unrolled - 1) * rows < end; r += unrolled * rows, from += unrolled * step) {
      Pack<T, n> p[unrolled];
#pragma unroll
      for (int k = 0; k < unrolled; ++k) p[k] = cuda::load_pack<n>(from + k * step);
#pragma unroll
      for (int k = 0; k < unrolled; ++k) add(p[k]);
    }
    for (; r < end; r += rows, from += step) add(cuda::load_pack<n>(from));
  }
#pragma unroll
  for (int j = 0; j < n; ++j) {
#pragma unroll
    for (int step = lanes; step < cuda::warp_size; step *= 2)
      sum[j] += __shfl_xor_sync(cuda::full_warp, sum[j], step);
    if (thread % cuda::warp_size < lanes) of_warp[thread / cuda::warp_size][lane * n + j] = sum[j];
  }
  __syncthreads();
  if (thread >= lanes * n || first_column + thread >= cut.inner) return;
  A total = 0;
#pragma unroll
  for (int w = 0; w < warps; ++w) total += of_warp[w][thread];
  result.put(y + part * cut.inner + first_column + thread, total);
}

// y [outer, inner]: a thread for each pack of y, where there are enough of them or few rows.
template <int n, class T, class Out, class Index>
__global__ void __launch_bounds__(threads)
    column_sums_by_thread(Out* y, const T* x, cuda::Divider<Index> row_packs, std::int64_t packs,
                          std::int64_t rows, Result<acc_t<T>> result) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= packs) return;
  const auto [o, pack] = row_packs.split(static_cast<Index>(i));
  const std::int64_t inner = static_cast<std::int64_t>(row_packs.divisor()) * n;
  const T* from = x + static_cast<std::int64_t>(o) * rows * inner + static_cast<std::int64_t>(pack) * n;
  acc_t<T> sum[n]{};
#pragma unroll unrolled
  for (std::int64_t r = 0; r < rows; ++r) {
    const Pack<T, n> p = cuda::load_pack<n>(from + r * inner);
#pragma unroll
    for (int j = 0; j < n; ++j) sum[j] += cuda::load(p.v[j]);
  }
#pragma unroll
  for (int j = 0; j < n; ++j) result.put(y + i * n + j, sum[j]);
}

template <int n, class T, class Out>
void sum_columns_by_thread(Device device, Out* y, const T* x, std::int64_t outer, std::int64_t rows,
                           std::int64_t inner, Result<acc_t<T>> result) {
  const std::int64_t packs = outer * inner / n;
  cuda::with_index(packs, [&]<class Index>(Index) {
    cuda::launch({"sum_axis", device, cuda::blocks_for(packs, threads), threads},
                 column_sums_by_thread<n, T, Out, Index>, y, x, cuda::Divider<Index>(inner / n), packs, rows,
                 result);
  });
}

/// At max_chunks `max_chunks` chunks: 1 in the second stage.
template <int n, class T, class Out>
void sum_columns(Device device, Out* y, const T* x, std::int64_t outer, std::int64_t rows, std::int64_t inner,
                 std::int64_t max_chunks, Result<acc_t<T>> result) {
  using A = acc_t<T>;
  constexpr int lanes = n == 1 ? cuda::warp_size : 8;
  constexpr std::int64_t step = std::int64_t{unrolled} * (threads / lanes);
  Cut cut{.n = rows, .inner = inner, .chunk = 0, .chunks = 1, .strips = ceil_div(inner, lanes * n)};
  const std::int64_t wanted = std::clamp<std::int64_t>(blocks / (outer * cut.strips), 1, max_chunks);
  cut.chunk = std::max(step, ceil_div(ceil_div(rows, wanted), step) * step);
  cut.chunks = std::max<std::int64_t>(1, ceil_div(rows, cut.chunk));
  const cuda::Launch launch("sum_axis", device, cuda::blocks_for(outer * cut.chunks * cut.strips, 1),
                            threads);
  if (cut.chunks == 1) return cuda::launch(launch, column_sums<n, lanes, T, Out>, y, x, cut, result);
  const Tensor partial({outer, cut.chunks, inner}, dtype_of<A>, device);
  A* parts = cuda::data<A>(partial);
  cuda::launch(launch, column_sums<n, lanes, T, A>, parts, x, cut, Result<A>{});
  constexpr int second = n == 1 ? 1 : cuda::pack_size<A>;
  sum_columns<second>(device, y, static_cast<const A*>(parts), outer, cut.chunks, inner, 1, result);
}

template <class T, class Out>
void sum_middle(Device device, Out* y, const T* x, AxisView view, acc_t<T> factor) {
  const std::int64_t outer = view.outer, n = view.n, inner = view.inner;
  const Result<acc_t<T>> result{.factor = factor};
  if (inner == 1) return sum_contiguous<acc_t<T>, Plain>("sum_axis", device, y, x, outer, n, result);
  const auto run = [&]<int pack>(std::integral_constant<int, pack>) {
    constexpr std::int64_t few_rows = 16, enough_threads = 65536;
    if (n <= few_rows || outer * inner / pack >= enough_threads)
      sum_columns_by_thread<pack>(device, y, x, outer, n, inner, result);
    else
      sum_columns<pack>(device, y, x, outer, n, inner, blocks, result);
  };
  constexpr int pack = cuda::pack_size<T>;
  if (cuda::aligned_rows<T>(inner, pack, x))
    run(std::integral_constant<int, pack>{});
  else
    run(std::integral_constant<int, 1>{});
}

void sum_axis(Tensor& y, const Tensor& x, AxisView view, double factor) {
  if (view.outer * view.inner == 0) return;
  cuda::dispatch("sum_axis", x.dtype(), [&]<class T>(T) {
    const auto run = [&]<class Out>(Out* out) {
      sum_middle(y.device(), out, cuda::data<const T>(x), view, static_cast<acc_t<T>>(factor));
    };
    if constexpr (std::is_same_v<T, cuda::bfloat16>)
      if (y.dtype() == DType::float32) return run(cuda::data<float>(y));
    VITRAL_CHECK(y.dtype() == x.dtype(),
                 "sum_axis: y is {} and x {}, they must be equal, or float32 beside bfloat16",
                 name(y.dtype()), name(x.dtype()));
    run(cuda::data<T>(y));
  });
}

void add_sum_of_squares(Tensor& total, const Tensor& x) {
  if (x.numel() == 0) return;
  cuda::dispatch("add_sum_of_squares", x.dtype(), [&]<class T>(T) {
    sum_contiguous<double, SquareInDouble>("add_sum_of_squares", x.device(), cuda::data<double>(total),
                                           cuda::data<const T>(x), 1, x.numel(),
                                           Result<double>{.factor = 1, .accumulate = true});
  });
}

const bool implemented = kernel::sum_axis.implement(Device::Kind::cuda, sum_axis) &&
                         kernel::add_sum_of_squares.implement(Device::Kind::cuda, add_sum_of_squares);

}  // namespace
}  // namespace vitral
