// Gradients against central differences, in float64.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "autograd/variable.h"

namespace vitral {

struct GradcheckOptions {
  double step = 1e-6;
  double tolerance = 1e-6;  // on |analytic - numeric| / max(1, |numeric|)
  std::uint64_t seed = 0;   // of the random weights that reduce the result to one number
};

struct GradcheckResult {
  bool passed = false;
  double worst = 0;
  std::string message;  // where the worst error is: input, index, both values
};

/// f maps the inputs (float64) to one result of any shape, which is multiplied with random weights and
/// summed. Every element of every input is checked.
GradcheckResult gradcheck(const std::function<Variable(const std::vector<Variable>&)>& f,
                          const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

}  // namespace vitral
