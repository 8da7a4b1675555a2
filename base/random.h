// Counter-based random numbers: a stream is a pure function of its key, so that a sample depends on nothing
// but (seed, epoch, index). splitmix64 (Steele, Lea, Flood 2014) over an incrementing counter.
#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>

namespace vitral {

__extension__ using uint128 = unsigned __int128;

constexpr std::uint64_t splitmix64(std::uint64_t z) {
  z += 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// Mixes any number of integers into one key; the order matters.
template <class... Ints>
constexpr std::uint64_t random_key(std::uint64_t seed, Ints... more) {
  std::uint64_t key = splitmix64(seed);
  ((key = splitmix64(key ^ (static_cast<std::uint64_t>(more) + 0xD1B54A32D192ED03ULL))), ...);
  return key;
}

class Random {
 public:
  template <class... Ints>
  explicit constexpr Random(std::uint64_t seed, Ints... more) : key_(random_key(seed, more...)) {}

  constexpr std::uint64_t next() { return splitmix64(key_ + 0x9E3779B97F4A7C15ULL * counter_++); }
  /// Uniform in [0, 1) with 53 bits.
  constexpr double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  constexpr double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform integer in [0, n), n > 0, without modulo bias (Lemire 2019).
  constexpr std::uint64_t below(std::uint64_t n) {
    for (;;) {
      const uint128 product = static_cast<uint128>(next()) * n;
      const auto low = static_cast<std::uint64_t>(product);
      if (low >= n || low >= (0 - n) % n) return static_cast<std::uint64_t>(product >> 64);
    }
  }
  /// Standard normal (Box-Muller, one value a call).
  double normal() {
    const double u = 1.0 - uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * uniform());
  }

 private:
  std::uint64_t key_;
  std::uint64_t counter_ = 0;
};

}  // namespace vitral
