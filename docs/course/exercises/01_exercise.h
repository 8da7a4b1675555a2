// Exercises of lesson 1. Write them in docs/course/exercises/01_exercise.cpp; `scripts/course 1 check` says
// whether they are right.
#pragma once
#include <array>
#include <cstddef>
#include <functional>
#include <vector>

namespace exercise {

enum class Op { leaf, add, mul, div, tanh };

/// One number on a tape. Its inputs a and b are numbers of earlier nodes; tanh has a alone, a leaf has none.
struct Node {
  Op op;
  std::size_t a, b;
  double value;
};

/// Exercise 1: the derivatives of y = op(a, b) by a and by b.
///   add: y = a + b    mul: y = a b    div: y = a / b    tanh: y = tanh(a), and 0 by b    leaf: 0 and 0
std::array<double, 2> derivatives(Op op, double a, double b);

/// Exercise 2: the gradients of the last node of the tape by every node, as many numbers as there are nodes;
/// of the last by itself it is 1. Nodes that the last one does not depend on have 0.
std::vector<double> gradients(const std::vector<Node>& tape);

/// Exercise 3: the slope of f at x by central differences, (f(x + step) - f(x - step)) / (2 step).
double slope(const std::function<double(double)>& f, double x, double step);

}  // namespace exercise
