// Division of indices by numbers that the host knows. A division costs a GPU some 20 instructions, in 64 bits
// some 70; where all indices are below 2^31 it is a multiplication here.
#pragma once
#include "tensor/cuda/launch.h"

namespace vitral::cuda {

template <class Index>
struct Split {
  Index quotient, remainder;
};

/// Divider<std::uint32_t> is exact for numbers below 2^31, divided by 1 to 2^31 - 1; Divider<std::uint64_t>
/// is the plain division.
template <class Index>
class Divider {
 public:
  Divider() = default;
  explicit Divider(std::int64_t divisor) : divisor_(static_cast<Index>(divisor)) {}
  __device__ Index divisor() const { return divisor_; }
  __device__ Split<Index> split(Index n) const { return {n / divisor_, n % divisor_}; }

 private:
  Index divisor_ = 1;
};

// Granlund and Montgomery 1994: n / d = (mulhi(n, m) + n) >> s with s = ceil(log2 d), m = floor(2^32 (2^s -
// d) / d) + 1. Below 2^31 the sum does not overflow.
template <>
class Divider<std::uint32_t> {
 public:
  Divider() = default;
  explicit Divider(std::int64_t divisor) : divisor_(static_cast<std::uint32_t>(divisor)) {
    while ((std::uint64_t{1} << shift_) < divisor_) ++shift_;
    const std::uint64_t power = std::uint64_t{1} << shift_;
    multiplier_ = static_cast<std::uint32_t>((((power - divisor_) << 32) / divisor_) + 1);
  }
  __device__ std::uint32_t divisor() const { return divisor_; }
  __device__ Split<std::uint32_t> split(std::uint32_t n) const {
    const std::uint32_t quotient = (__umulhi(n, multiplier_) + n) >> shift_;
    return {quotient, n - quotient * divisor_};
  }

 private:
  std::uint32_t divisor_ = 1, multiplier_ = 1, shift_ = 0;
};

/// Calls f with a value of the type that indices below `count` divide fastest in.
///   with_index(y.numel(), [&]<class Index>(Index) { ... });
template <class F>
void with_index(std::int64_t count, F&& f) {
  if (count < std::int64_t{1} << 31)
    f(std::uint32_t{});
  else
    f(std::uint64_t{});
}

}  // namespace vitral::cuda
