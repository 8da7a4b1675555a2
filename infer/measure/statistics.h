// How sure a number is: intervals of means.
#pragma once
#include <cstddef>
#include <limits>
#include <span>

namespace vitral::infer {

/// A mean and the interval that covers the true one with the confidence that was asked for. NaN: what so few
/// values do not tell.
struct Estimate {
  std::size_t count = 0;  // values
  double mean = std::numeric_limits<double>::quiet_NaN();
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();

  /// Whether the interval is known and leaves zero out.
  bool differs_from_zero() const { return low > 0 || high < 0; }
};

/// t with P(T <= t) = probability for Student's t distribution (Student 1908, "The Probable Error of a
/// Mean"): the density is proportional to (1 + t^2 / n)^(-(n+1)/2), n = degrees > 0. To 1e-9 relative up to
/// 1e4 degrees. UsageError: a probability outside (0, 1).
double student_t_quantile(double probability, double degrees);

/// Mean m of n values and m -+ t s / sqrt(n), s^2 = sum (x - m)^2 / (n - 1), t of n - 1 degrees. One value
/// has no interval, none has no mean; nor have values that are not finite.
Estimate estimate_mean(std::span<const double> values, double confidence = 0.95);

/// The same of the differences a[i] - b[i], for what belongs together in pairs: what both have in common (the
/// seed) is no part of the width. UsageError: lengths that differ.
Estimate estimate_difference(std::span<const double> a, std::span<const double> b, double confidence = 0.95);

}  // namespace vitral::infer
