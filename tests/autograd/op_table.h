// The table of all differentiable operations. Each row is checked by gradcheck in float64, against a composed
// reference where it has one, in float32 against float64, and on every device that this machine has. A test
// fails when a function of autograd/ops.h has no row.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "autograd/ops.h"

namespace vitral::test {

using Inputs = std::vector<Variable>;
using Function = std::function<Variable(const Inputs&)>;

struct OpRow {
  std::string name;           // as in autograd/ops.h
  std::vector<Shape> shapes;  // of the inputs
  Function f;
  Function reference = {};    // the same from simpler operations, or empty
  double low = -2, high = 2;  // inputs are uniform in here
  std::string variant = "";
};

std::vector<OpRow> op_table();

}  // namespace vitral::test
