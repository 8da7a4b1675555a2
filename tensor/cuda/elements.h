// Kernels that make every element of a tensor from the elements of others at the same place.
//
// A thread takes two packs of 16 bytes (of the widest type) and has both under way before it works on either:
// even 1024 threads of a multiprocessor then have 32 KB of each input in flight, more than the 23 KB that the
// latency of an H200's memory asks for. Accesses are of single elements where an address is not a multiple of
// the pack.
#pragma once
#include <algorithm>

#include "tensor/cuda/device.h"

namespace vitral::cuda {

constexpr int map_threads = 256;
constexpr int map_packs = 2;

/// The packs of one thread: those at first, first + map_threads, ...
template <class T, int n>
struct Packs {
  Pack<T, n> at[map_packs];
};

__device__ __forceinline__ std::int64_t first_pack() {
  return static_cast<std::int64_t>(blockIdx.x) * (map_threads * map_packs) + threadIdx.x;
}
inline unsigned map_blocks(std::int64_t packs) {
  return std::max(1U, blocks_for(packs, map_threads * map_packs));
}

template <int n, class T>
__device__ __forceinline__ Packs<T, n> load_packs(const T* from, std::int64_t packs) {
  Packs<T, n> loaded;
#pragma unroll
  for (int k = 0; k < map_packs; ++k) {
    const std::int64_t i = first_pack() + k * map_threads;
    if (i < packs) loaded.at[k] = load_pack<n>(from + i * n);
  }
  return loaded;
}

template <int n, class F, class Out, class... In>
__device__ __forceinline__ void map_loaded(const F& f, Out* out, std::int64_t packs,
                                           const Packs<In, n>&... in) {
#pragma unroll
  for (int k = 0; k < map_packs; ++k) {
    const std::int64_t i = first_pack() + k * map_threads;
    if (i >= packs) continue;
    Pack<Out, n> result;
#pragma unroll
    for (int j = 0; j < n; ++j) result.v[j] = f(in.at[k].v[j]...);
    store_pack(out + i * n, result);
  }
}

// The elements behind the last whole pack are left to the first threads. `out` may be one of the inputs.
template <int n, class F, class Out, class... In>
__global__ void __launch_bounds__(map_threads)
    map_kernel(F f, std::int64_t count, Out* out, const In*... in) {
  const std::int64_t packs = count / n;
  map_loaded<n>(f, out, packs, load_packs<n>(in, packs)...);
  const std::int64_t last = packs * n + first_pack();
  if (last < count && first_pack() < n) out[last] = f(in[last]...);
}

/// out[i] = f(in[i]...), f a functor of device code from In... to Out. `out` may be one of the inputs.
template <class Out, class... In, class F>
void map_elements(const char* operation, Tensor& out, const F& f, const std::type_identity_t<In>*... in) {
  const std::int64_t count = out.numel();
  if (count == 0) return;
  constexpr int n = 16 / static_cast<int>(std::max({sizeof(Out), sizeof(In)...}));
  Out* to = data<Out>(out);
  const auto run = [&]<int width>(std::integral_constant<int, width>) {
    launch({operation, out.device(), map_blocks(count / width), map_threads},
           map_kernel<width, F, Out, In...>, f, count, to, in...);
  };
  if (aligned_rows<Out>(n, n, to) && (aligned_rows<In>(n, n, in) && ...))
    run(std::integral_constant<int, n>{});
  else
    run(std::integral_constant<int, 1>{});
}

}  // namespace vitral::cuda
