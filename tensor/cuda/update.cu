// Sums of squares are made in double, block by block and then over the blocks, always in the same order.
#include <chrono>
#include <cmath>

#include "tensor/cuda/update.h"
#include "tensor/ops/reduce.h"

namespace vitral {
namespace {

using cuda::warp_size;

template <class T>
__global__ void add_to(double* sum, const T* loss, double weight) {
  *sum += weight * static_cast<double>(cuda::load(*loss));
}

void add_loss(Tensor& control, int slot, const Tensor& loss, double weight) {
  cuda::dispatch("add_loss", loss.dtype(), [&]<class T>(T) {
    cuda::launch({"add_loss", control.device(), 1, 1}, add_to<T>, cuda::data<double>(control) + slot,
                 cuda::data<T>(loss), weight);
  });
}

// Nanoseconds of the device's clock.
__device__ std::uint64_t nanoseconds() {
#ifdef __CUDACC__
  std::uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
#else
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

__global__ void add_now(double* sum, double sign) {
  *sum += sign * 1e-9 * static_cast<double>(nanoseconds());
}

void add_time(Tensor& sums, int slot, double sign) {
  cuda::launch({"add_time", sums.device(), 1, 1}, add_now, cuda::data<double>(sums) + slot, sign);
}

template <class T>
struct Gradient {
  static constexpr int per_block = 16384;
  const T* g;
  std::int64_t count;
  bool packed;
};

template <class T>
__global__ void __launch_bounds__(cuda::update_threads)
    squares(const __grid_constant__ cuda::Table<Gradient<T>> table, double* partial) {
  __shared__ double for_sums[warp_size + 1];
  const cuda::Piece piece = table.piece(blockIdx.x);
  const Gradient<T>& a = table.items[piece.item];
  double sum = 0;
  cuda::for_elements<cuda::pack_size<T>>(piece, a.packed,
                                         [&]<int n>(std::integral_constant<int, n>, std::int64_t i) {
                                           const auto g = cuda::load_pack<n>(a.g + i);
#pragma unroll
                                           for (int j = 0; j < n; ++j)
                                             sum += static_cast<double>(g.v[j]) * static_cast<double>(g.v[j]);
                                         });
  sum = cuda::block_sum(sum, for_sums);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// The sums of all gradients of type T, a number a block; returns the end of them.
template <class T>
double* launch_squares(Device device, double* partial, std::span<const Tensor> gradients) {
  cuda::Table<Gradient<T>> table;
  const auto flush = [&] {
    cuda::launch({"sum_of_squares", device, table.blocks(), cuda::update_threads}, squares<T>, table,
                 partial);
    partial += table.blocks();
    table.size = 0;
  };
  for (const Tensor& g : gradients) {
    if (!g.defined() || g.dtype() != dtype_of<T>) continue;
    if (table.full()) flush();
    table.add({cuda::data<T>(g), g.numel(), cuda::aligned({g.raw()})});
  }
  flush();
  return partial;
}

void sum_of_squares(Tensor& control, std::span<const Tensor> gradients) {
  std::int64_t blocks = 0;
  for (const Tensor& g : gradients) {
    if (!g.defined()) continue;
    dispatch_float("sum_of_squares", g.dtype(),
                   [&]<class T>(T) { blocks += cuda::blocks_for(g.numel(), Gradient<T>::per_block); });
  }
  const Tensor partial({blocks}, DType::float64, control.device());
  auto* next = cuda::data<double>(partial);
  next = launch_squares<float>(control.device(), next, gradients);
  launch_squares<double>(control.device(), next, gradients);
  Tensor squares = control.rows(update_squares, update_squares + 1);
  kernel::sum_axis(squares, partial, {1, blocks, 1}, 1);
}

struct Slots {
  static constexpr int capacity = 512;
  int slot[capacity];
  int size = 0;
};

__global__ void __launch_bounds__(cuda::update_threads)
    decide(double* control, std::int64_t* steps, const __grid_constant__ Slots slots, double clip_norm,
           bool last) {
  const double planned = control[update_planned], images = control[update_images];
  const double factor = planned > 0 && images > 0 ? planned / images : 1;
  const double loss = factor * control[update_loss], sum = factor * factor * control[update_squares];
  const bool counts = std::isfinite(loss) && std::isfinite(sum) && (planned == 0 || images > 0);
  __syncthreads();  // all have read
  if (counts)
    for (int i = static_cast<int>(threadIdx.x); i < slots.size; i += cuda::update_threads)
      ++steps[slots.slot[i]];
  if (threadIdx.x != 0) return;
  const double clip = clip_norm > 0 ? clip_norm / (std::sqrt(sum) + 1e-6) : 1;
  control[update_scale] = !counts ? 0 : clip < 1 ? factor * clip : factor;
  if (!last || factor == 1) return;
  control[update_loss] = loss;
  control[update_squares] = sum;
  for (int i = update_terms; i < update_slots; ++i) control[i] *= factor;
}

void begin_update(Tensor& control, Tensor& steps, std::span<const UpdateItem> items, double clip_norm) {
  Slots slots;
  // Only the last launch changes what the others read.
  const auto flush = [&](bool last) {
    cuda::launch({"begin_update", control.device(), 1, cuda::update_threads}, decide,
                 cuda::data<double>(control), cuda::data<std::int64_t>(steps), slots, clip_norm, last);
    slots.size = 0;
  };
  for (const UpdateItem& item : items) {
    VITRAL_CHECK(item.slot >= 0 && item.slot < steps.numel(),
                 "begin_update: slot {} is not one of the {} steps", item.slot, steps.numel());
    if (slots.size == Slots::capacity) flush(false);
    slots.slot[slots.size++] = static_cast<int>(item.slot);
  }
  flush(true);
}

const bool implemented = kernel::add_loss.implement(Device::Kind::cuda, add_loss) &&
                         kernel::add_time.implement(Device::Kind::cuda, add_time) &&
                         kernel::sum_of_squares.implement(Device::Kind::cuda, sum_of_squares) &&
                         kernel::begin_update.implement(Device::Kind::cuda, begin_update);

}  // namespace
}  // namespace vitral
