// Copies that change the layout, at the speed of the memory; see units.h. A permutation that moves the last
// axis reads along one axis and writes along another: tiles of 32 x 32 go through shared memory, so that both
// sides see whole runs of 32 elements.
#include "tensor/cuda/units.h"
#include "tensor/ops/copy.h"

namespace vitral {
namespace {

// --- slices: runs of size * inner elements, inner * n apart in the whole, end to end in the part ---

template <class Index, bool into_whole>
struct SliceRoute {
  cuda::Divider<Index> run;
  std::int64_t pitch, skip;  // units

  __device__ cuda::Move operator()(std::int64_t i) const {
    const auto [o, k] = run.split(static_cast<Index>(i));
    const std::int64_t at = static_cast<std::int64_t>(o) * pitch + skip + k;
    return into_whole ? cuda::Move{at, i} : cuda::Move{i, at};
  }
};

template <bool into_whole>
void copy_slice(const char* operation, Tensor& to, const Tensor& from, AxisSlice s) {
  const std::int64_t outer = s.whole.outer, inner = s.whole.inner;
  const auto element = static_cast<std::int64_t>(size_of(from.dtype()));
  const std::int64_t run = s.size * inner * element, skip = s.begin * inner * element;
  const std::int64_t pitch = outer > 1 ? s.whole.n * inner * element : 0;
  if (outer * run == 0) return;
  const auto bits = static_cast<std::uint64_t>(run | skip | pitch);
  cuda::with_unit(bits | cuda::address_bits(to) | cuda::address_bits(from), [&]<int unit>(
                                                                                std::integral_constant<
                                                                                    int, unit>) {
    const std::int64_t count = outer * run / unit;
    cuda::with_index(count, [&]<class Index>(Index) {
      const SliceRoute<Index, into_whole> route{cuda::Divider<Index>(run / unit), pitch / unit, skip / unit};
      cuda::copy_along<unit>(operation, to, from, route, count);
    });
  });
}

void slice(Tensor& y, const Tensor& x, AxisSlice s) { copy_slice<false>("slice", y, x, s); }

void write_slice(Tensor& x, const Tensor& y, AxisSlice s) { copy_slice<true>("write_slice", x, y, s); }

// --- permutations ---

/// y's axes, innermost first, those that stay neighbours merged and those of size 1 left out: how far a step
/// along each goes in x and in y. At least one axis.
struct AxisLoops {
  int rank = 0;
  std::int64_t size[Shape::max_rank]{}, x_step[Shape::max_rank]{}, y_step[Shape::max_rank]{};
};

AxisLoops axis_loops(const Shape& y, const Shape& x, const kernel::Axes& axes) {
  AxisLoops loops;
  std::int64_t y_step = 1;
  for (int i = y.rank() - 1; i >= 0; --i) {
    const int axis = axes[static_cast<std::size_t>(i)], k = loops.rank;
    const std::int64_t size = y[i], x_step = x.product(axis + 1, x.rank());
    if (size == 1) continue;
    if (k > 0 && x_step == loops.x_step[k - 1] * loops.size[k - 1]) {
      loops.size[k - 1] *= size;
    } else {
      loops.size[k] = size, loops.x_step[k] = x_step, loops.y_step[k] = y_step;
      ++loops.rank;
    }
    y_step *= size;
  }
  if (loops.rank == 0) loops.rank = 1, loops.size[0] = loops.x_step[0] = loops.y_step[0] = 1;
  return loops;
}

/// From units of y in their order to units of x.
template <class Index>
struct PermuteRoute {
  int rank;
  cuda::Divider<Index> size[Shape::max_rank];
  std::int64_t step[Shape::max_rank];

  __device__ cuda::Move operator()(std::int64_t i) const {
    Index rest = static_cast<Index>(i);
    std::int64_t from = 0;
    for (int k = 0; k < rank; ++k) {
      const auto [quotient, index] = size[k].split(rest);
      rest = quotient;
      from += index * step[k];
    }
    return {i, from};
  }
};

// More than one element a unit only where y's innermost axis is x's innermost, too.
template <int unit>
void gather(Tensor& y, const Tensor& x, const AxisLoops& loops, std::int64_t per_unit) {
  const std::int64_t count = y.numel() / per_unit;
  cuda::with_index(count, [&]<class Index>(Index) {
    PermuteRoute<Index> route{};
    route.rank = loops.rank;
    for (int k = 0; k < loops.rank; ++k) {
      route.size[k] = cuda::Divider<Index>(k == 0 ? loops.size[k] / per_unit : loops.size[k]);
      route.step[k] = k == 0 ? loops.x_step[k] : loops.x_step[k] / per_unit;
    }
    cuda::copy_along<unit>("permute", y, x, route, count);
  });
}

void permute_runs(Tensor& y, const Tensor& x, const AxisLoops& loops) {
  const auto element = static_cast<std::int64_t>(size_of(x.dtype()));
  std::int64_t bits = loops.size[0] * element;
  for (int k = 1; k < loops.rank; ++k) bits |= loops.x_step[k] * element;
  cuda::with_unit(static_cast<std::uint64_t>(bits) | cuda::address_bits(y) | cuda::address_bits(x),
                  [&]<int unit>(std::integral_constant<int, unit>) {
                    gather<unit>(y, x, loops, std::max<std::int64_t>(1, unit / element));
                  });
}

constexpr int tile = 32;
constexpr int tile_rows = 8;  // of threads

// Axis 0 of the loops is y's innermost, axis `other` x's innermost.
template <int unit>
__global__ void __launch_bounds__(tile* tile_rows)
    transpose_kernel(cuda::Unit<unit>* y, const cuda::Unit<unit>* x, AxisLoops loops, int other) {
  __shared__ cuda::Unit<unit> numbers[tile][tile + 1];
  std::int64_t rest = blockIdx.x;
  const auto next = [&](std::int64_t size) {
    const std::int64_t index = rest % size;
    rest /= size;
    return index;
  };
  const std::int64_t width = loops.size[0], height = loops.size[other];
  const std::int64_t column = next((width + tile - 1) / tile) * tile;
  const std::int64_t row = next((height + tile - 1) / tile) * tile;
  for (int k = 1; k < loops.rank; ++k) {
    if (k == other) continue;
    const std::int64_t index = next(loops.size[k]);
    x += index * loops.x_step[k];
    y += index * loops.y_step[k];
  }
  const int lane = static_cast<int>(threadIdx.x), first = static_cast<int>(threadIdx.y);
#pragma unroll
  for (int c = first; c < tile; c += tile_rows)
    if (column + c < width && row + lane < height)
      numbers[c][lane] = x[(column + c) * loops.x_step[0] + row + lane];
  __syncthreads();
#pragma unroll
  for (int r = first; r < tile; r += tile_rows)
    if (column + lane < width && row + r < height)
      y[(row + r) * loops.y_step[other] + column + lane] = numbers[lane][r];
}

void transpose(Tensor& y, const Tensor& x, const AxisLoops& loops, int other) {
  const auto tiles = [](std::int64_t size) { return (size + tile - 1) / tile; };
  const std::int64_t width = loops.size[0], height = loops.size[other];
  const std::int64_t blocks = y.numel() / (width * height) * tiles(width) * tiles(height);
  cuda::with_unit(size_of(x.dtype()), [&]<int unit>(std::integral_constant<int, unit>) {
    if constexpr (unit <= 8)
      cuda::launch({"permute", y.device(), cuda::blocks_for(blocks, 1), dim3(tile, tile_rows)},
                   transpose_kernel<unit>, cuda::data<cuda::Unit<unit>>(y), cuda::data<cuda::Unit<unit>>(x),
                   loops, other);
  });
}

void permute(Tensor& y, const Tensor& x, kernel::Axes axes) {
  if (y.numel() == 0) return;
  const AxisLoops loops = axis_loops(y.shape(), x.shape(), axes);
  if (loops.x_step[0] == 1) return permute_runs(y, x, loops);
  int other = 1;
  while (loops.x_step[other] != 1) ++other;
  constexpr std::int64_t worth_a_tile = tile / 2;
  if (loops.size[0] >= worth_a_tile && loops.size[other] >= worth_a_tile)
    return transpose(y, x, loops, other);
  cuda::with_unit(size_of(x.dtype()),
                  [&]<int unit>(std::integral_constant<int, unit>) { gather<unit>(y, x, loops, 1); });
}

const bool implemented = kernel::slice.implement(Device::Kind::cuda, slice) &&
                         kernel::write_slice.implement(Device::Kind::cuda, write_slice) &&
                         kernel::permute.implement(Device::Kind::cuda, permute);

}  // namespace
}  // namespace vitral
