// Lesson 7: compares the exercise with vitral.
#include <cmath>

#include <fmt/format.h>

#include "docs/course/exercises/07_exercise.h"
#include "models/student/head.h"
#include "nn/init.h"

using namespace vitral;

namespace {

int wrong = 0;

void compare(const std::string& what, const std::vector<double>& got, const std::vector<double>& expected,
             double tolerance, const std::string& hint) {
  if (got.size() != expected.size()) {
    fmt::print("{}: wrong: expected {} numbers, got {}\n", what, expected.size(), got.size());
    ++wrong;
    return;
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::abs(got[i] - expected[i]) <= tolerance) continue;  // not a number is wrong, too
    fmt::print("{}: wrong: number {}: expected {:.6g}, got {:.6g}; {}\n", what, i, expected[i], got[i], hint);
    ++wrong;
    return;
  }
  fmt::print("{}: right\n", what);
}

void check_head(double size_of_logits, double temperature, const std::string& hint) {
  constexpr std::int64_t tokens = 9, heads = 3, size = 4;
  Random random(1);
  const Tensor x = nn::normal({1, tokens, heads * (size + 1)}, 1, random).cast(DType::float64);
  for (std::int64_t i = size; i < tokens * heads * (size + 1); i += size + 1)
    x.data<double>()[i] *= size_of_logits;
  const auto head = models::make_head({.width = heads * size, .heads = heads, .head = "convex"}, Random(0));
  const models::StudentOutput real = (*head)(Variable(x), {}, temperature);
  const Pooled got = convex_head(x.to_vector(), tokens, heads, size, temperature);
  const std::string what = fmt::format("convex_head, logits of size {}: ", size_of_logits);
  compare(what + "e", got.e, real.patches.value().to_vector(), 1e-12,
          "the heads of a patch stand one behind the other, each without its last number");
  compare(what + "p", got.p, real.probs.value().to_vector(), 1e-12, hint);
  compare(what + "y", got.y, real.embedding.value().to_vector(), 1e-9,
          "y is the sum over patches of p_n e_n");
}

}  // namespace

int main() {
  check_head(1, 0.5, "softmax over the patches of the mean of the last numbers, divided by the temperature");
  check_head(1000, 1, "subtract the largest logit before exp()");

  constexpr int images = 3, width = 8;
  Random random(2);
  const Tensor y = nn::normal({images, width}, 2, random).cast(DType::float64);
  const Tensor t = nn::normal({images, width}, 1, random).cast(DType::float64);
  const Variable leaf(y, true), loss = distillation_loss(leaf, Variable(t), 20);
  loss.backward();
  compare("distillation_l1", {distillation_l1(y.to_vector(), t.to_vector(), images, width, 20)},
          {loss.item()}, 1e-12,
          "each row is divided by its own length; the mean is over images and elements");
  compare("distillation_l1_gradient",
          distillation_l1_gradient(y.to_vector(), t.to_vector(), images, width, 20), leaf.grad().to_vector(),
          1e-12, "u . s is over one row; divide by the length of y, not of t");
  return wrong > 0 ? 1 : 0;
}
