// Says whether the exercises of lesson 1 are right: by hand, and beside vitral's tape.
#include <cmath>
#include <string>

#include "autograd/ops.h"
#include "docs/course/exercises/01_exercise.h"

namespace {

using vitral::Tensor;
using vitral::Variable;

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

  void expect(const std::string& what, double expected, double got, const std::string& hint) {
    if (!right || std::abs(expected - got) <= 1e-6 * std::max(1.0, std::abs(expected))) return;
    right = false;
    fmt::print("{}: wrong: {}: expected {:.6g}, got {:.6g}. {}\n", name, what, expected, got, hint);
  }

  const char* name;
  bool right = true;
};

Variable leaf(double value) {
  return Variable(Tensor::full({1}, value, vitral::DType::float64), /*requires_grad=*/true);
}

void check_derivatives() {
  using exercise::Op;
  Exercise exercise("1, derivatives");
  const struct {
    Op op;
    const char* name;
    Variable (*real)(const Variable&, const Variable&);
    const char* hint;
  } rows[] = {
      {Op::add, "add", vitral::add, "Where a grows by 1, so does a + b."},
      {Op::mul, "mul", vitral::mul, "By a it is b, and by b it is a."},
      {Op::div, "div", vitral::div, "d(a / b) = da / b - a db / b^2."},
      {Op::tanh, "tanh", [](const Variable& a, const Variable&) { return tanh(a); },
       "By a it is 1 - tanh(a)^2; there is no b, so by b it is 0."},
  };
  for (const auto& row : rows) {
    const Variable a = leaf(0.7), b = leaf(-1.3);
    row.real(a, b).backward();
    const auto [by_a, by_b] = exercise::derivatives(row.op, 0.7, -1.3);
    const std::string at = fmt::format("{} at a = 0.7, b = -1.3, ", row.name);
    exercise.expect(at + "by a", a.grad().item(), by_a, row.hint);
    exercise.expect(at + "by b", b.grad().defined() ? b.grad().item() : 0, by_b, row.hint);
  }
}

// h = tanh(w x), y = (h + w h) / (h h): w and h are used more than once, and node 4 leads nowhere.
void check_gradients() {
  using exercise::Op;
  Exercise exercise("2, gradients");
  const Variable w = leaf(0.8), x = leaf(0.5);
  const Variable h = tanh(mul(w, x));
  const Variable top = add(h, mul(w, h)), bottom = mul(h, h);
  const Variable y = div(top, bottom);
  const std::vector<exercise::Node> tape{
      {Op::leaf, 0, 0, 0.8},       {Op::leaf, 0, 0, 0.5},           {Op::mul, 0, 1, 0.4},
      {Op::tanh, 2, 0, h.item()},  {Op::add, 1, 3, 0.5 + h.item()}, {Op::mul, 0, 3, 0.8 * h.item()},
      {Op::add, 3, 5, top.item()}, {Op::mul, 3, 3, bottom.item()},  {Op::div, 6, 7, y.item()},
  };
  y.backward();
  const std::vector<double> got = exercise::gradients(tape);
  exercise.expect("how many numbers", static_cast<double>(tape.size()), static_cast<double>(got.size()),
                  "One for each node.");
  if (!exercise.right) return;
  exercise.expect("of the last node by itself", 1, got[8], "Where the walk starts.");
  exercise.expect("of a node that the last does not depend on", 0, got[4], "Nobody adds to it.");
  exercise.expect("by h of the bottom, which is used once", -y.item() / bottom.item(), got[7],
                  "gradient of node 8 times the derivative of a / b by b.");
  exercise.expect("by x", x.grad().item(), got[1],
                  "Is each node passed after all that were computed from it? Newest first does that.");
  exercise.expect("by w, which is used twice", w.grad().item(), got[0],
                  "Gradients that come along several arrows are added: += and not =.");
}

void check_slope() {
  Exercise exercise("3, slope");
  exercise.expect("of x^3 at 2, step 0.1", 12.01, exercise::slope([](double x) { return x * x * x; }, 2, 0.1),
                  "12.61 comes of (f(x + step) - f(x)) / step, which looks to one side; divide by 2 step.");
  exercise.expect("of tanh at 0.3, step 1e-5", 1 - std::tanh(0.3) * std::tanh(0.3),
                  exercise::slope([](double x) { return std::tanh(x); }, 0.3, 1e-5), "Use the step given.");
}

}  // namespace

int main() {
  check_derivatives();
  check_gradients();
  check_slope();
  return all_right ? 0 : 1;
}
