// Lesson 7: the solution.
#include <algorithm>
#include <cmath>

#include "docs/course/exercises/07_exercise.h"

namespace {

double length(const double* row, std::size_t n) {
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) squares += row[i] * row[i];
  return std::sqrt(squares);
}

double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

}  // namespace

Pooled convex_head(const std::vector<double>& x, int tokens, int heads, int size, double temperature) {
  const auto N = static_cast<std::size_t>(tokens), H = static_cast<std::size_t>(heads),
             D = static_cast<std::size_t>(size), W = H * D;
  Pooled out{std::vector<double>(N), std::vector<double>(N * W), std::vector<double>(W)};
  for (std::size_t n = 0; n < N; ++n)
    for (std::size_t h = 0; h < H; ++h) {
      const double* head = &x[(n * H + h) * (D + 1)];
      for (std::size_t d = 0; d < D; ++d) out.e[n * W + h * D + d] = head[d];
      out.p[n] += head[D] / static_cast<double>(heads);
    }

  const double largest = *std::max_element(out.p.begin(), out.p.end());
  double sum = 0;
  for (double& p : out.p) sum += p = std::exp((p - largest) / temperature);
  for (double& p : out.p) p /= sum;

  for (std::size_t n = 0; n < N; ++n)
    for (std::size_t i = 0; i < W; ++i) out.y[i] += out.p[n] * out.e[n * W + i];
  return out;
}

double distillation_l1(const std::vector<double>& y, const std::vector<double>& t, int images, int width,
                       double norm) {
  const auto B = static_cast<std::size_t>(images), D = static_cast<std::size_t>(width);
  double sum = 0;
  for (std::size_t b = 0; b < B; ++b) {
    const double of_y = length(&y[b * D], D), of_t = length(&t[b * D], D);
    for (std::size_t i = b * D; i < (b + 1) * D; ++i) sum += std::abs(y[i] / of_y - t[i] / of_t);
  }
  return norm * sum / static_cast<double>(B * D);
}

std::vector<double> distillation_l1_gradient(const std::vector<double>& y, const std::vector<double>& t,
                                             int images, int width, double norm) {
  const auto B = static_cast<std::size_t>(images), D = static_cast<std::size_t>(width);
  const double weight = norm / static_cast<double>(B * D);
  std::vector<double> dy(B * D);
  for (std::size_t b = 0; b < B; ++b) {
    const double of_y = length(&y[b * D], D), of_t = length(&t[b * D], D);
    double along = 0;  // u . s
    for (std::size_t i = b * D; i < (b + 1) * D; ++i) {
      dy[i] = weight * sign(y[i] / of_y - t[i] / of_t);
      along += y[i] / of_y * dy[i];
    }
    for (std::size_t i = b * D; i < (b + 1) * D; ++i) dy[i] = (dy[i] - y[i] / of_y * along) / of_y;
  }
  return dy;
}
