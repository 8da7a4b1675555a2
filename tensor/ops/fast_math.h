// Exponentials of float32 in plain arithmetic, which the compiler vectorises in the loops of the CPU.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "base/clones.h"

namespace vitral {

/// exp(x) = 2^n p for |x| < 100. After Cephes' expf (Moshier, netlib.org/cephes).
struct Power {
  float p;
  std::int32_t n;
};
VITRAL_INLINE Power exponential_parts(float x) {
  constexpr float shift = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504F + shift;
  const float k = shifted - shift;
  const float r = (x - k * 0.693359375F) + k * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  return {p * (r * r) + r + 1.0F, std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(shift)};
}

/// 1 / (1 + exp(x)), exactly 0 or 1 beyond +-87. Without a comparison of floats, after which the compiler
/// would follow both ways, each with a division. A NaN is taken for 87: who multiplies with it brings it
/// back.
VITRAL_INLINE float gate_of_exp(float x) {
  constexpr std::int32_t sign = std::numeric_limits<std::int32_t>::min();
  constexpr auto limit = std::bit_cast<std::int32_t>(87.0F);
  const auto bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t size = std::min(bits & ~sign, limit);
  const auto [p, n] = exponential_parts(std::bit_cast<float>(size | (bits & sign)));
  // Times 2^n.
  const float gate = 1.0F / (1.0F + std::bit_cast<float>(std::bit_cast<std::int32_t>(p) + (n << 23)));
  return std::bit_cast<float>(std::bit_cast<std::int32_t>(gate) &
                              (static_cast<std::int32_t>(bits > limit) - 1));
}

}  // namespace vitral
