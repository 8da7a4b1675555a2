// Copies that change the layout, whatever the element type: memory moves in units of 16, 8, 4, 2 or 1 bytes,
// the widest that all addresses, strides and lengths are multiples of. A thread has four units under way.
#pragma once
#include "tensor/cuda/device.h"
#include "tensor/cuda/divider.h"

namespace vitral::cuda {

constexpr int copy_threads = 256;
constexpr int copy_units = 4;

template <int bytes>
struct unit {
  using type = Pack<std::uint32_t, bytes / 4>;  // words, not bytes: the compiler keeps each in a register
};
template <>
struct unit<2> {
  using type = std::uint16_t;
};
template <>
struct unit<1> {
  using type = std::uint8_t;
};
template <int bytes>
using Unit = typename unit<bytes>::type;

/// Where a unit goes and where it comes from, in units.
struct Move {
  std::int64_t to, from;
};

template <int bytes, class Route>
__global__ void __launch_bounds__(copy_threads)
    copy_kernel(Unit<bytes>* to, const Unit<bytes>* from, Route route, std::int64_t count) {
  const std::int64_t first =
      static_cast<std::int64_t>(blockIdx.x) * (copy_threads * copy_units) + threadIdx.x;
  Unit<bytes> unit[copy_units];
  std::int64_t place[copy_units];
#pragma unroll
  for (int k = 0; k < copy_units; ++k) {
    const std::int64_t i = first + k * copy_threads;
    if (i >= count) continue;
    const Move move = route(i);
    place[k] = move.to;
    unit[k] = from[move.from];
  }
#pragma unroll
  for (int k = 0; k < copy_units; ++k)
    if (first + k * copy_threads < count) to[place[k]] = unit[k];
}

/// Calls f with the width of a unit as an integral constant; `bits` is the bitwise or of all that the width
/// must divide.
template <class F>
void with_unit(std::uint64_t bits, F&& f) {
  if (bits % 16 == 0) return f(std::integral_constant<int, 16>{});
  if (bits % 8 == 0) return f(std::integral_constant<int, 8>{});
  if (bits % 4 == 0) return f(std::integral_constant<int, 4>{});
  if (bits % 2 == 0) return f(std::integral_constant<int, 2>{});
  f(std::integral_constant<int, 1>{});
}

inline std::uint64_t address_bits(const Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.raw()); }

/// Moves the `count` units for which route(i), a functor of device code, names the places.
template <int bytes, class Route>
void copy_along(const char* operation, Tensor& to, const Tensor& from, const Route& route,
                std::int64_t count) {
  launch({operation, to.device(), blocks_for(count, copy_threads * copy_units), copy_threads},
         copy_kernel<bytes, Route>, data<Unit<bytes>>(to), data<Unit<bytes>>(from), route, count);
}

}  // namespace vitral::cuda
