// The table of all layers. Each row is checked for the shape of its result, by gradcheck in float64 for its
// input and each of its parameters, on every device that this machine has, for the names of its parameters,
// and for saving and loading. A test fails when a class of nn/ has no row.
#pragma once
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "nn/nn.h"

namespace vitral::test {

struct Layer {
  std::unique_ptr<nn::Module> module;
  std::function<Variable(const Variable&)> forward;
};

struct LayerRow {
  std::string name;     // of the class
  std::string variant;  // where it has several rows
  Shape input, output;
  std::vector<std::string> parameters;  // as "name [shape]", in the order of registration
  std::function<Layer(Random&)> make;
};

/// What a failing test prints.
inline std::ostream& operator<<(std::ostream& out, const LayerRow& row) {
  return out << row.name << " " << row.variant;
}

std::vector<LayerRow> layer_table();

}  // namespace vitral::test
