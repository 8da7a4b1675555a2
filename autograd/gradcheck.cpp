#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops.h"
#include "base/random.h"

namespace vitral {

GradcheckResult gradcheck(const std::function<Variable(const std::vector<Variable>&)>& f,
                          const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  std::vector<Variable> variables;
  for (const auto& x : inputs) {
    VITRAL_CHECK(x.dtype() == DType::float64, "gradcheck: inputs must be float64, this one is {}", x.dtype());
    variables.emplace_back(x.clone(), true);
  }
  Tensor weights;
  const auto value = [&]() {
    const Variable y = f(variables);
    if (!weights.defined()) {
      Random random(options.seed, 0x9c);
      std::vector<double> w(static_cast<std::size_t>(y.value().numel()));
      for (double& v : w) v = random.normal();
      weights = Tensor::from(w, y.shape());
    }
    return sum(mul(y, Variable(weights)));
  };
  value().backward();

  GradcheckResult result;
  result.passed = true;
  for (std::size_t i = 0; i < variables.size(); ++i) {
    double* x = variables[i].value().data<double>();
    const Tensor& grad = variables[i].grad();
    for (std::int64_t k = 0; k < variables[i].value().numel(); ++k) {
      const NoGrad no_grad;
      const double before = x[k];
      x[k] = before + options.step;
      const double up = value().item();
      x[k] = before - options.step;
      const double down = value().item();
      x[k] = before;
      const double numeric = (up - down) / (2 * options.step);
      const double analytic = grad.defined() ? grad.data<double>()[k] : 0;
      const double error = std::abs(analytic - numeric) / std::max(1.0, std::abs(numeric));
      if (error > options.tolerance || std::isnan(error)) result.passed = false;
      if (std::isnan(result.worst) || error <= result.worst) continue;  // a NaN is the worst, and stays
      result.worst = error;
      result.message = fmt::format("input {} {} at {}: backward gives {:.9g}, central differences {:.9g}", i,
                                   variables[i].shape(), k, analytic, numeric);
    }
  }
  return result;
}

}  // namespace vitral
