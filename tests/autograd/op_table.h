// The table of all differentiable operations. Each row is checked by gradcheck in float64, against a composed
// reference where it has one, in float32 against float64, and on every device that this machine has. A test
// fails when a function of autograd/ops.h has no row.
#pragma once
#include <functional>
#include <ostream>
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
  double bfloat16_tolerance = 2e-2;  // of the largest value, on a GPU
  std::size_t parameters_from = 0;   // the first input that may be float32 beside bfloat16; 0: none
};

/// What a failing test prints.
inline std::ostream& operator<<(std::ostream& out, const OpRow& row) {
  return out << row.name << " " << row.variant;
}

std::vector<OpRow> op_table();
/// Those of them in op_table_models.cpp.
std::vector<OpRow> model_op_rows();

}  // namespace vitral::test
