#include "infer/measure/statistics.h"

#include <array>
#include <cmath>

#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;

// As tables of the distribution print it; of one and two degrees by the closed forms tan(pi (p - 1/2)) and
// (2p - 1) sqrt(2 / (4p (1 - p))).
TEST(StudentT, Quantiles) {
  const double pi = std::acos(-1.0);
  for (const double p : {0.6, 0.9, 0.975, 0.9995}) {
    EXPECT_NEAR(student_t_quantile(p, 1) / std::tan(pi * (p - 0.5)), 1, 1e-9) << p;
    EXPECT_NEAR(student_t_quantile(p, 2) / ((2 * p - 1) * std::sqrt(2 / (4 * p * (1 - p)))), 1, 1e-9) << p;
    EXPECT_EQ(student_t_quantile(1 - p, 7), -student_t_quantile(1 - (1 - p), 7)) << p;
  }
  struct Known {
    double degrees, p95, p975, p995;
  };
  for (const Known& k : {Known{2, 2.919986, 4.302653, 9.924843}, Known{3, 2.353363, 3.182446, 5.840909},
                         Known{4, 2.131847, 2.776445, 4.604095}, Known{9, 1.833113, 2.262157, 3.249836},
                         Known{29, 1.699127, 2.045230, 2.756386}, Known{120, 1.657651, 1.979930, 2.617421}}) {
    EXPECT_NEAR(student_t_quantile(0.95, k.degrees), k.p95, 1e-6) << k.degrees;
    EXPECT_NEAR(student_t_quantile(0.975, k.degrees), k.p975, 1e-6) << k.degrees;
    EXPECT_NEAR(student_t_quantile(0.995, k.degrees), k.p995, 1e-6) << k.degrees;
  }
  EXPECT_NEAR(student_t_quantile(0.975, 1e4), 1.960201, 1e-6);
  EXPECT_EQ(student_t_quantile(0.5, 3), 0);
  EXPECT_EQ(message_of([] { student_t_quantile(1, 3); }),
            "student_t_quantile: probability 1 must be in (0, 1) and degrees 3 above 0");
}

// 1, 2, 6: mean 3, variance (4 + 1 + 9) / 2 = 7, error sqrt(7 / 3).
TEST(Estimates, MeanByHand) {
  const Estimate e = estimate_mean(std::array{1.0, 2.0, 6.0});
  EXPECT_EQ(e.count, 3U);
  EXPECT_DOUBLE_EQ(e.mean, 3);
  EXPECT_NEAR(e.high, 3 + 4.302653 * std::sqrt(7.0 / 3), 1e-5);
  EXPECT_NEAR(e.low, 3 - 4.302653 * std::sqrt(7.0 / 3), 1e-5);
  EXPECT_FALSE(e.differs_from_zero());
}

// The pairs differ by 1, 1.5, 2: mean 1.5, variance 0.25; apart from their pairs they would tell nothing.
TEST(Estimates, DifferenceIsPaired) {
  const std::array a{11.0, 101.5, 52.0}, b{10.0, 100.0, 50.0};
  const Estimate e = estimate_difference(a, b);
  EXPECT_DOUBLE_EQ(e.mean, 1.5);
  EXPECT_NEAR(e.low, 1.5 - 4.302653 * std::sqrt(0.25 / 3), 1e-5);
  EXPECT_TRUE(e.differs_from_zero());
  EXPECT_TRUE(estimate_difference(b, a).differs_from_zero());
  EXPECT_FALSE(estimate_difference(a, a).differs_from_zero());
  EXPECT_EQ(message_of([&] { estimate_difference(a, std::array{1.0}); }),
            "estimate_difference: 3 values and 1 do not pair");
}

TEST(Estimates, OfTooFewValues) {
  const Estimate one = estimate_mean(std::array{2.5}), none = estimate_mean({});
  EXPECT_EQ(one.mean, 2.5);
  EXPECT_TRUE(std::isnan(one.low) && std::isnan(one.high));
  EXPECT_FALSE(one.differs_from_zero());
  EXPECT_TRUE(std::isnan(none.mean));
  EXPECT_EQ(none.count, 0U);
}

// The mean of n numbers has a bootstrap interval of about 1.96 s / sqrt(n) to each side.
TEST(Bootstrap, OfAMean) {
  Random random(3);
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) values.push_back(random.normal());
  const auto mean = [&](std::span<const std::int32_t> times, std::span<double> out) {
    double sum = 0, count = 0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += times[i] * values[i], count += times[i];
    EXPECT_EQ(count, 400);
    out[0] = sum / count;
    out[1] = 7;
    out[2] = std::nan("");
  };
  const auto intervals = bootstrap(400, 3, mean, {.resamples = 4000});
  const double center = estimate_mean(values).mean;
  EXPECT_NEAR(intervals[0].low, center - 1.96 / 20, 0.012);
  EXPECT_NEAR(intervals[0].high, center + 1.96 / 20, 0.012);
  EXPECT_EQ(intervals[1].low, 7);
  EXPECT_EQ(intervals[1].high, 7);
  EXPECT_TRUE(std::isnan(intervals[2].low));
  EXPECT_EQ(bootstrap(400, 3, mean, {.resamples = 4000})[0].low, intervals[0].low);
  EXPECT_NE(bootstrap(400, 3, mean, {.resamples = 4000, .seed = 1})[0].low, intervals[0].low);
  EXPECT_TRUE(std::isnan(bootstrap(400, 3, mean, {.resamples = 1})[0].low));
  EXPECT_TRUE(std::isnan(bootstrap(0, 3, mean)[0].low));
}

// One of two units: drawn twice with 1/4, not at all with 1/4, so that the 95 % reach from end to end.
TEST(Bootstrap, EndsAreQuantilesOfTheResamples) {
  const auto first = [](std::span<const std::int32_t> times, std::span<double> out) { out[0] = times[0]; };
  const Interval wide = bootstrap(2, 1, first)[0];
  EXPECT_EQ(wide.low, 0);
  EXPECT_EQ(wide.high, 2);
  const Interval narrow = bootstrap(2, 1, first, {.confidence = 0.4})[0];
  EXPECT_EQ(narrow.low, 1);
  EXPECT_EQ(narrow.high, 1);
}

}  // namespace
}  // namespace vitral::infer
