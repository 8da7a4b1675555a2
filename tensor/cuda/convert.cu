// Conversion between element types and filling, at the speed of the memory: 16 bytes of the wider type a pack
// (elements.h). float16 is stored only, so its conversions are written out in integers here, exactly as the
// hardware's: to nearest, ties to even, subnormal numbers kept.
#include <bit>

#include "tensor/cuda/elements.h"
#include "tensor/ops/convert.h"

namespace vitral {
namespace {

using cuda::bfloat16;

struct float16 {
  std::uint16_t bits;
};

// Adding the float whose last place is worth 2^-24, the unit of subnormal float16, rounds to such units.
constexpr float subnormal_units = 0.5F;

__device__ float16 to_float16(float x) {
  constexpr std::uint32_t infinity = 0x7F800000U;
  constexpr std::uint32_t too_large = 0x47800000U;        // 2^16
  constexpr std::uint32_t smallest_normal = 0x38800000U;  // 2^-14
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (bits >> 16) & 0x8000U, size = bits & 0x7FFFFFFFU;
  std::uint32_t result = 0;
  if (size >= too_large)
    result = size > infinity ? 0x7E00U : 0x7C00U;
  else if (size < smallest_normal)
    result = std::bit_cast<std::uint32_t>(std::bit_cast<float>(size) + subnormal_units) -
             std::bit_cast<std::uint32_t>(subnormal_units);
  else  // the exponent's bias is 112 less; half of the last place is added, less one bit where it is even
    result = (size - (112U << 23) + 0xFFFU + ((size >> 13) & 1U)) >> 13;
  return {static_cast<std::uint16_t>(sign | result)};
}

__device__ float to_float(float16 x) {
  const std::uint32_t sign = (x.bits & 0x8000U) << 16, size = x.bits & 0x7FFFU;
  std::uint32_t bits = size << 13;
  if (size >= 0x7C00U)  // infinity or NaN
    bits += 224U << 23;
  else if (size >= 0x0400U)
    bits += 112U << 23;
  else  // subnormal: so many times 2^-24
    bits = std::bit_cast<std::uint32_t>(static_cast<float>(size) * 0x1p-24F);
  return std::bit_cast<float>(sign | bits);
}
__device__ float to_float(bfloat16 x) { return __bfloat162float(x); }
template <class T>
__device__ float to_float(T x) {
  return static_cast<float>(x);
}

template <class T>
constexpr bool is_half = std::is_same_v<T, float16> || std::is_same_v<T, bfloat16>;

template <class To, class From>
__device__ __forceinline__ To convert_one(From x) {
  // Half types go through float: they convert from and to nothing else exactly.
  if constexpr (std::is_same_v<To, float16>)
    return to_float16(to_float(x));
  else if constexpr (std::is_same_v<To, bfloat16>)
    return __float2bfloat16(to_float(x));
  else if constexpr (is_half<From>)
    return static_cast<To>(to_float(x));
  else
    return static_cast<To>(x);
}

template <class To, class From>
struct Convert {
  __device__ To operator()(From x) const { return convert_one<To>(x); }
};

template <class To>
struct Constant {
  double value;
  __device__ To operator()() const { return convert_one<To>(value); }
};

template <class F>
void with_type(DType dtype, F&& f) {
  dispatch_any<float16, bfloat16>(dtype, f);
}

void convert(Tensor& y, const Tensor& x) {
  with_type(y.dtype(), [&]<class To>(To) {
    with_type(x.dtype(), [&]<class From>(From) {
      cuda::map_elements<To, From>("convert", y, Convert<To, From>{}, cuda::data<From>(x));
    });
  });
}

void fill(Tensor& y, double value) {
  with_type(y.dtype(), [&]<class T>(T) { cuda::map_elements<T>("fill", y, Constant<T>{value}); });
}

const bool implemented = kernel::convert.implement(Device::Kind::cuda, convert) &&
                         kernel::fill.implement(Device::Kind::cuda, fill);

}  // namespace
}  // namespace vitral
