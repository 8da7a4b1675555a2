// How sure a number is: intervals of means, and of whatever is computed from a sample.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

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

struct Interval {
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
};

struct BootstrapOptions {
  int resamples = 1000;
  double confidence = 0.95;
  std::uint64_t seed = 0;
};

/// Percentile intervals (Efron 1979, "Bootstrap Methods: Another Look at the Jackknife") of `values` numbers
/// that are computed from a sample of `units`: images, each with all that was measured on it. A resample
/// draws as many units with replacement; statistic() gets how often it drew each (`times` [units]) and writes
/// the numbers into `out` [values]. All numbers are of the same resamples. Ends are the (1 -+ confidence) / 2
/// quantiles, linear between two resamples; resamples of which a number is not finite are left out, and of
/// fewer than two there is no interval. A pure function of the sample and the seed. statistic() is called
/// from several threads.
std::vector<Interval> bootstrap(
    std::int64_t units, std::int64_t values,
    const std::function<void(std::span<const std::int32_t> times, std::span<double> out)>& statistic,
    const BootstrapOptions& options = {});

}  // namespace vitral::infer
