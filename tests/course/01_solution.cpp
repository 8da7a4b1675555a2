// A solution of the exercises of lesson 1.
#include <cmath>

#include "docs/course/exercises/01_exercise.h"

namespace exercise {

std::array<double, 2> derivatives(Op op, double a, double b) {
  switch (op) {
    case Op::add:
      return {1, 1};
    case Op::mul:
      return {b, a};
    case Op::div:
      return {1 / b, -a / (b * b)};
    case Op::tanh:
      return {1 - std::tanh(a) * std::tanh(a), 0};
    case Op::leaf:
      break;
  }
  return {0, 0};
}

std::vector<double> gradients(const std::vector<Node>& tape) {
  std::vector<double> gradient(tape.size(), 0);
  gradient.back() = 1;
  for (std::size_t i = tape.size(); i-- > 0;) {
    const Node& node = tape[i];
    if (node.op == Op::leaf) continue;
    const bool two = node.op != Op::tanh;
    const auto [by_a, by_b] = derivatives(node.op, tape[node.a].value, two ? tape[node.b].value : 0);
    gradient[node.a] += gradient[i] * by_a;
    if (two) gradient[node.b] += gradient[i] * by_b;
  }
  return gradient;
}

double slope(const std::function<double(double)>& f, double x, double step) {
  return (f(x + step) - f(x - step)) / (2 * step);
}

}  // namespace exercise
