// Lesson 10: the solution.
#include <cmath>
#include <numbers>

#include "docs/course/exercises/10_exercise.h"

namespace {

// From a at t0 to b at t1, as half a cosine wave.
double half_wave(double t, double t0, double a, double t1, double b) {
  return b + (a - b) * (1 + std::cos(std::numbers::pi * (t - t0) / (t1 - t0))) / 2;
}

}  // namespace

double one_cycle(long t, long T, double lr, double warmup_fraction, double start_factor, double end_factor) {
  const double now = static_cast<double>(t), last = static_cast<double>(T - 1);
  const double peak = warmup_fraction * static_cast<double>(T) - 1;
  const double first = lr / start_factor;
  if (now <= peak) return half_wave(now, 0, first, peak, lr);
  return half_wave(now, peak, lr, last, first / end_factor);
}

double clip_by_global_norm(std::vector<std::vector<double>>& gradients, double max_norm) {
  double squares = 0;
  for (const auto& gradient : gradients)
    for (const double g : gradient) squares += g * g;
  const double norm = std::sqrt(squares);
  if (norm <= max_norm) return norm;
  for (auto& gradient : gradients)
    for (double& g : gradient) g *= max_norm / (norm + 1e-6);
  return norm;
}
