// Embeddings as arrays of float: sums are taken in double, in the order of the elements.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace vitral {

inline double dot(const float* a, const float* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return sum;
}

/// Neither infinite nor not a number, all of them.
inline bool all_finite(const float* a, std::int64_t n) {
  constexpr std::uint32_t exponent = 0x7f800000;
  std::uint32_t bad = 0;  // and no early end: so the loop becomes one of vectors
  for (std::int64_t i = 0; i < n; ++i)
    bad |= (std::bit_cast<std::uint32_t>(a[i]) & exponent) == exponent ? 1U : 0U;
  return bad == 0;
}

inline double squared_length(const float* a, std::int64_t n) { return dot(a, a, n); }

inline double length(const float* a, std::int64_t n) { return std::sqrt(squared_length(a, n)); }

/// a . b / (|a| |b|); 0 with a zero vector, not finite where one of them is not.
inline double cosine(const float* a, const float* b, std::int64_t n) {
  double product = 0, a_squares = 0, b_squares = 0;  // in one pass
  for (std::int64_t i = 0; i < n; ++i) {
    product += double{a[i]} * b[i];
    a_squares += double{a[i]} * a[i];
    b_squares += double{b[i]} * b[i];
  }
  const double lengths = std::sqrt(a_squares) * std::sqrt(b_squares);
  return lengths == 0 ? 0 : product / lengths;
}

/// Why a vector has no direction that float32 can tell: its squared length is "not finite", "zero", "too
/// large for float32" or "too small for float32". nullptr: it has one.
inline const char* direction_problem(double squared_length) {
  if (!std::isfinite(squared_length)) return "not finite";
  if (squared_length == 0) return "zero";
  if (squared_length > std::numeric_limits<float>::max()) return "too large for float32";
  if (squared_length < std::numeric_limits<float>::min()) return "too small for float32";
  return nullptr;
}

}  // namespace vitral
