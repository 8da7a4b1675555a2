// The exercises of lesson 1, for you to write; docs/course/exercises/01_exercise.h says what each gives.
#include "docs/course/exercises/01_exercise.h"

namespace exercise {

std::array<double, 2> derivatives(Op op, double a, double b) {
  // Begin here: one case of a switch for each operation. For tanh, 1 - y^2 with y = tanh(a).
  static_cast<void>(op);
  static_cast<void>(a);
  static_cast<void>(b);
  return {0, 0};
}

std::vector<double> gradients(const std::vector<Node>& tape) {
  std::vector<double> gradient(tape.size(), 0);
  // Begin here: the last one is 1; then all nodes, newest first, each adding to the gradients of its inputs.
  return gradient;
}

double slope(const std::function<double(double)>& f, double x, double step) {
  // Begin here: f can be called as often as you like.
  static_cast<void>(f);
  static_cast<void>(x);
  static_cast<void>(step);
  return 0;
}

}  // namespace exercise
