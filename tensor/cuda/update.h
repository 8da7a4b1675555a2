// What the formulas of optimisers share on a GPU; tensor/ops/update.h has the contract.
//
// A table of all tensors goes with the launch by value, up to 128 of them (more take more launches); a block
// finds its tensor and its part of it from the number of the first block of each. So a launch covers
// parameters of any sizes, a recorded graph holds the table, and nothing is copied.
#pragma once
#include <initializer_list>

#include "tensor/cuda/device.h"
#include "tensor/ops/update.h"

namespace vitral::cuda {

constexpr int update_threads = 256;

/// The elements of one tensor that a block works on.
struct Piece {
  int item;
  std::int64_t begin, end;
};

template <class Item>
struct Table {
  static constexpr int capacity = 128;
  Item items[capacity];
  unsigned first_block[capacity + 1] = {};
  int size = 0;

  bool full() const { return size == capacity; }
  unsigned blocks() const { return first_block[size]; }
  void add(const Item& item) {
    items[size] = item;
    first_block[size + 1] = first_block[size] + blocks_for(item.count, Item::per_block);
    ++size;
  }
  __device__ Piece piece(unsigned block) const {
    int low = 0, high = size - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (first_block[middle] <= block)
        low = middle;
      else
        high = middle - 1;
    }
    const std::int64_t begin = static_cast<std::int64_t>(block - first_block[low]) * Item::per_block;
    const std::int64_t rest = items[low].count - begin;
    return {low, begin, begin + (rest < Item::per_block ? rest : Item::per_block)};
  }
};

inline bool aligned(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<std::uintptr_t>(p) % 16 != 0) return false;
  return true;
}

/// Calls f(std::integral_constant<int, n>, i) for the packs of n elements and then the single elements of
/// this thread.
template <int n, class F>
__device__ __forceinline__ void for_elements(const Piece& piece, bool packed, F&& f) {
  std::int64_t begin = piece.begin;
  if (packed) {
    const std::int64_t end = piece.end - (piece.end - begin) % n;
    for (std::int64_t i = begin + threadIdx.x * n; i < end; i += update_threads * n)
      f(std::integral_constant<int, n>{}, i);
    begin = end;
  }
  for (std::int64_t i = begin + threadIdx.x; i < piece.end; i += update_threads)
    f(std::integral_constant<int, 1>{}, i);
}

template <class T, int states>
struct UpdateParameter {
  static constexpr int per_block = 4096;
  T* p;
  T* state[states];
  const T* g;
  T* average;
  bfloat16* copy;
  std::int64_t count, slot;
  bool packed;
};

/// In pairs, as nvcc makes an access of its own for each element here.
template <class T, int n>
__device__ __forceinline__ void store_copy(bfloat16* to, const Pack<T, n>& p) {
  if constexpr (n == 1) {
    *to = store<bfloat16>(p.v[0]);
  } else {
    Pack<__nv_bfloat162, n / 2> pairs;
#pragma unroll
    for (int j = 0; j < n / 2; ++j)
      pairs.v[j] = __floats2bfloat162_rn(static_cast<float>(p.v[2 * j]), static_cast<float>(p.v[2 * j + 1]));
    store_pack(reinterpret_cast<__nv_bfloat162*>(to), pairs);
  }
}

template <int n, class T, int states, class Factors>
__device__ __forceinline__ void update_pack(const UpdateParameter<T, states>& a, std::int64_t i,
                                            const Factors& f, T scale, T average_weight) {
  auto p = load_pack<n>(a.p + i);
  Pack<T, n> state[states];
#pragma unroll
  for (int s = 0; s < states; ++s) state[s] = load_pack<n>(a.state[s] + i);
  const auto g = load_pack<n>(a.g + i);
#pragma unroll
  for (int j = 0; j < n; ++j) {
    T own[states];
#pragma unroll
    for (int s = 0; s < states; ++s) own[s] = state[s].v[j];
    f.update(p.v[j], own, g.v[j] * scale);
#pragma unroll
    for (int s = 0; s < states; ++s) state[s].v[j] = own[s];
  }
  store_pack(a.p + i, p);
#pragma unroll
  for (int s = 0; s < states; ++s) store_pack(a.state[s] + i, state[s]);
  if (a.average) {
    auto average = load_pack<n>(a.average + i);
#pragma unroll
    for (int j = 0; j < n; ++j) average.v[j] = std::fma(average_weight, p.v[j] - average.v[j], average.v[j]);
    store_pack(a.average + i, average);
  }
  if (a.copy) store_copy(a.copy + i, p);
}

template <class T, class Formula>
__global__ void __launch_bounds__(update_threads)
    update_all(const __grid_constant__ Table<UpdateParameter<T, Formula::states>> table,
               const double* control, const std::int64_t* steps, Formula formula, double average_weight) {
  __shared__ double once[Formula::once];
  const double scale = control[update_scale], lr = control[update_lr];
  if (scale == 0) return;
  const Piece piece = table.piece(blockIdx.x);
  const auto& a = table.items[piece.item];
  // A warp each, so that they are made at the same time.
  if (threadIdx.x % warp_size == 0 && threadIdx.x / warp_size < Formula::once) {
    const int i = static_cast<int>(threadIdx.x) / warp_size;
    once[i] = formula.number(i, lr, static_cast<double>(steps[a.slot]));
  }
  __syncthreads();
  const auto f = formula.template factors<T>(lr, once);
  for_elements<pack_size<T>>(piece, a.packed, [&]<int n>(std::integral_constant<int, n>, std::int64_t i) {
    update_pack<n>(a, i, f, static_cast<T>(scale), static_cast<T>(average_weight));
  });
}

/// Updates all items whose dtype is T by a formula:
///
///   struct Formula {
///     static constexpr int states;                                      tensors of state that an item has
///     static constexpr int once;                                        numbers that a block makes once
///     __device__ double number(int i, double lr, double step) const;    number i of them, in double
///     template <class T> __device__ auto factors(double lr, const double* once) const;
///   };
///
/// factors() gives what is the same for all elements of a tensor, with a function update(p, state, g) for one
/// of them. Fused multiply-adds are to be written out there: the same bits for packs and single elements.
template <class T, class Formula>
void launch_updates(const char* operation, std::span<const UpdateItem> items, const Tensor& control,
                    const Tensor& steps, const Formula& formula, double average_weight) {
  Table<UpdateParameter<T, Formula::states>> table;
  const auto flush = [&] {
    launch({operation, control.device(), table.blocks(), update_threads}, update_all<T, Formula>, table,
           data<double>(control), data<std::int64_t>(steps), formula, average_weight);
    table.size = 0;
  };
  for (const UpdateItem& i : items) {
    if (i.p.dtype() != dtype_of<T>) continue;
    if (table.full()) flush();
    UpdateParameter<T, Formula::states> a{.p = data<T>(i.p),
                                          .state = {},
                                          .g = data<T>(i.g),
                                          .average = data<T>(i.average),
                                          .copy = data<bfloat16>(i.copy),
                                          .count = i.p.numel(),
                                          .slot = i.slot,
                                          .packed = true};
    a.packed = aligned({a.p, a.g, a.average, a.copy});
    for (int s = 0; s < Formula::states; ++s) {
      a.state[s] = data<T>(i.state[static_cast<std::size_t>(s)]);
      a.packed = a.packed && aligned({a.state[s]});
    }
    table.add(a);
  }
  flush();
}

/// The same for float32 and float64; UsageError for items of another dtype or without a slot of `steps`.
template <class Formula>
void update_items(const char* operation, std::span<const UpdateItem> items, const Tensor& control,
                  const Tensor& steps, const Formula& formula, double average_weight) {
  for (const UpdateItem& item : items) {
    VITRAL_CHECK(item.p.dtype() == DType::float32 || item.p.dtype() == DType::float64,
                 "{}: dtype {} is not supported, use float32 or float64", operation, name(item.p.dtype()));
    VITRAL_CHECK(item.slot >= 0 && item.slot < steps.numel(), "{}: slot {} is not one of the {} steps",
                 operation, item.slot, steps.numel());
  }
  launch_updates<float>(operation, items, control, steps, formula, average_weight);
  launch_updates<double>(operation, items, control, steps, formula, average_weight);
}

}  // namespace vitral::cuda
