#include <algorithm>
#include <cmath>

#include "docs/course/exercises/04_exercise.h"

void lion_step(double* p, double* m, const double* g, int n, double lr, double decay) {
  for (int i = 0; i < n; ++i) {
    const double direction = 0.9 * m[i] + 0.1 * g[i];
    const double sign = direction > 0 ? 1 : direction < 0 ? -1 : 0;
    p[i] = p[i] * (1 - lr * decay) - lr * sign;
    m[i] = 0.99 * m[i] + 0.01 * g[i];
  }
}

double clip_factor(const std::vector<std::vector<double>>& gradients, double max_norm) {
  double squares = 0;
  for (const auto& gradient : gradients)
    for (const double g : gradient) squares += g * g;
  if (!std::isfinite(squares)) return 0;
  return std::min(1.0, max_norm / (std::sqrt(squares) + 1e-6));
}

int steps_until_unbiased(double beta) {
  int t = 1;
  for (double power = beta; 1 / (1 - power) > 1.01; power *= beta) ++t;
  return t;
}
