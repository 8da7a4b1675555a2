#include "infer/measure/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace vitral::infer {
namespace {

// The regularised incomplete beta function I_x(a, b) for x < (a + 1) / (a + b + 2), by its continued fraction
// (DLMF 8.17.22), evaluated forwards (Lentz, as modified by Thompson and Barnett 1986).
double incomplete_beta(double a, double b, double x) {
  constexpr double tiny = 1e-300;
  const auto away_from_zero = [](double v) { return std::abs(v) < tiny ? tiny : v; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), fraction = d;
  for (int m = 1; m <= 10'000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double step = 1;
    for (const double term : {even, odd}) {
      d = 1 / away_from_zero(1 + term * d);
      c = away_from_zero(1 + term / c);
      fraction *= step = c * d;
    }
    if (std::abs(step - 1) < 1e-15) break;
  }
  return std::exp(a * std::log(x) + b * std::log1p(-x)) / (a * std::beta(a, b)) * fraction;
}

// P(T > t) for t > 0.
double upper_tail(double t, double n) {
  const double x = n / (n + t * t), a = n / 2, b = 0.5;
  if (x < (a + 1) / (a + b + 2)) return incomplete_beta(a, b, x) / 2;
  return (1 - incomplete_beta(b, a, t * t / (n + t * t))) / 2;
}

// Of sorted values, linear between two of them.
double quantile(const std::vector<double>& sorted, double probability) {
  const double at = probability * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

double student_t_quantile(double probability, double degrees) {
  VITRAL_CHECK(probability > 0 && probability < 1 && degrees > 0,
               "student_t_quantile: probability {} must be in (0, 1) and degrees {} above 0", probability,
               degrees);
  if (probability == 0.5) return 0;
  const double tail = std::min(probability, 1 - probability);
  double low = 0, high = 1;
  while (upper_tail(high, degrees) > tail && std::isfinite(high)) low = high, high *= 2;
  for (;;) {  // halved until no number lies between the two
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (upper_tail(middle, degrees) > tail ? low : high) = middle;
  }
  return probability > 0.5 ? high : -high;
}

Estimate estimate_mean(std::span<const double> values, double confidence) {
  Estimate e{.count = values.size()};
  if (values.empty()) return e;
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  e.mean = sum / n;
  if (values.size() < 2) return e;
  for (const double v : values) squares += (v - e.mean) * (v - e.mean);
  const double error = std::sqrt(squares / (n - 1) / n);
  const double half = student_t_quantile((1 + confidence) / 2, n - 1) * error;
  e.low = e.mean - half;
  e.high = e.mean + half;
  return e;
}

Estimate estimate_difference(std::span<const double> a, std::span<const double> b, double confidence) {
  VITRAL_CHECK(a.size() == b.size(), "estimate_difference: {} values and {} do not pair", a.size(), b.size());
  std::vector<double> differences(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) differences[i] = a[i] - b[i];
  return estimate_mean(differences, confidence);
}

std::vector<Interval> bootstrap(
    std::int64_t units, std::int64_t values,
    const std::function<void(std::span<const std::int32_t>, std::span<double>)>& statistic,
    const BootstrapOptions& options) {
  VITRAL_CHECK(
      units >= 0 && values >= 0 && options.resamples >= 0 && options.confidence > 0 && options.confidence < 1,
      "bootstrap: {} units, {} values, {} resamples, confidence {}", units, values, options.resamples,
      options.confidence);
  std::vector<Interval> out(static_cast<std::size_t>(values));
  if (units == 0) return out;
  const auto columns = static_cast<std::size_t>(values), drawn = static_cast<std::size_t>(options.resamples);
  std::vector<double> found(drawn * columns);  // [resamples,values]
#pragma omp parallel
  {
    std::vector<std::int32_t> times(static_cast<std::size_t>(units));
#pragma omp for schedule(dynamic, 8)
    for (std::size_t r = 0; r < drawn; ++r) {
      std::ranges::fill(times, 0);
      Random random(options.seed, r);
      for (std::int64_t i = 0; i < units; ++i) ++times[random.below(static_cast<std::uint64_t>(units))];
      statistic(times, std::span(found).subspan(r * columns, columns));
    }
  }
  for (std::size_t v = 0; v < columns; ++v) {
    std::vector<double> sorted;
    for (std::size_t r = 0; r < drawn; ++r)
      if (std::isfinite(found[r * columns + v])) sorted.push_back(found[r * columns + v]);
    if (sorted.size() < 2) continue;
    std::ranges::sort(sorted);
    out[v] = {quantile(sorted, (1 - options.confidence) / 2), quantile(sorted, (1 + options.confidence) / 2)};
  }
  return out;
}

}  // namespace vitral::infer
