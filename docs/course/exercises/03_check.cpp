// Says whether the exercises of lesson 3 are right: beside vitral's rms_norm and its gradient.
#include <cmath>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "base/random.h"
#include "docs/course/exercises/03_exercise.h"

namespace {

using vitral::Tensor;
using vitral::Variable;

constexpr std::size_t rows = 3, width = 5;
constexpr double eps = 0.01;  // large, so that it matters

bool all_right = true;

// Prints what is wrong with an exercise at the first number that is, else that it is right.
struct Exercise {
  explicit Exercise(const char* called) : name(called) {}
  ~Exercise() {
    if (right) fmt::print("{}: right\n", name);
    all_right = all_right && right;
  }
  Exercise(const Exercise&) = delete;
  Exercise& operator=(const Exercise&) = delete;

  // Arrays are told by their element [row,column], or [column].
  void expect(const std::string& array, const std::vector<double>& expected, const std::vector<double>& got,
              const std::string& hint) {
    for (std::size_t i = 0; right && i < expected.size(); ++i) {
      if (std::abs(expected[i] - got[i]) <= 1e-9) continue;
      right = false;
      const std::string at =
          expected.size() == rows * width ? fmt::format("{},{}", i / width, i % width) : std::to_string(i);
      fmt::print("{}: wrong: {}[{}]: expected {:.6g}, got {:.6g}. {}\n", name, array, at, expected[i], got[i],
                 hint);
    }
  }

  const char* name;
  bool right = true;
};

}  // namespace

int main() {
  vitral::Random random(4);
  const auto numbers = [&](std::size_t count) {
    std::vector<double> v(count);
    for (double& value : v) value = 0.2 + 0.3 * random.normal();
    return v;
  };
  const std::vector<double> x = numbers(rows * width), weight = numbers(width), dy = numbers(rows * width);
  const Variable vx(Tensor::from(x, {rows, width}), /*requires_grad=*/true),
      vweight(Tensor::from(weight, {width}), /*requires_grad=*/true);
  const Variable real = rms_norm(vx, vweight, eps);
  sum(mul(real, Variable(Tensor::from(dy, {rows, width})))).backward();
  std::vector<double> real_rstd;
  for (std::size_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (std::size_t i = 0; i < width; ++i) squares += x[r * width + i] * x[r * width + i];
    real_rstd.push_back(1 / std::sqrt(squares / width + eps));
  }

  {
    Exercise exercise("1, rms_norm");
    std::vector<double> y(rows * width), rstd(rows);
    exercise::rms_norm(y.data(), rstd.data(), x.data(), weight.data(), rows, width, eps);
    exercise.expect("rstd", real_rstd, rstd,
                    "eps is added to the mean of the squares, under the root; the mean is by `width`.");
    exercise.expect("y", real.value().to_vector(), y,
                    "x rstd weight: weight has one number a column, rstd one a row.");
  }
  {
    Exercise exercise("2, rms_norm_backward");
    std::vector<double> dx(rows * width, 77), dweight(width, 77);
    exercise::rms_norm_backward(dx.data(), dweight.data(), dy.data(), x.data(), weight.data(),
                                real_rstd.data(), rows, width);
    exercise.expect(
        "dweight", vweight.grad().to_vector(), dweight,
        "The sum over all rows of dy xhat, from zero: what was in dweight before does not count.");
    std::vector<double> first_term(rows * width);
    bool only_first = true;
    for (std::size_t i = 0; i < dx.size(); ++i) {
      first_term[i] = real_rstd[i / width] * dy[i] * weight[i % width];
      only_first = only_first && std::abs(dx[i] - first_term[i]) <= 1e-9;
    }
    exercise.expect("dx", vx.grad().to_vector(), dx,
                    only_first ? "rstd depends on x, too: a second term is missing."
                               : "dx = rstd (g - xhat mean(g xhat)), with g = dy weight and xhat = x rstd.");
  }
  return all_right ? 0 : 1;
}
