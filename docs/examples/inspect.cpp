// Reads gradients, computes without a tape, and checks an operation against central differences.
#include <cmath>

#include "autograd/gradcheck.h"
#include "nn/nn.h"
#include "train/adamw.h"

using namespace vitral;

struct Network : nn::Module {
  Random random{0};
  nn::Linear& hidden = child<nn::Linear>("hidden", 3, 8, random);
  nn::Linear& out = child<nn::Linear>("out", 8, 1, random);

  // x [B,3] -> [B,1]
  Variable operator()(const Variable& x) const { return out(gelu(hidden(x))); }
};

int main() {
  Network network;
  const Tensor x = nn::uniform({4, 3}, 1, network.random), w = nn::uniform({3, 2}, 1, network.random);
  mean(network(Variable(x))).backward();

  const Tensor slope = network.hidden.weight.grad();  // undefined before any backward() got there
  for (const auto& p : network.parameters())          // the same by name
    fmt::print("{} {}\n", p.name, p.value->grad().shape());

  train::AdamW optimizer(network);
  optimizer.step();
  const double norm = std::sqrt(optimizer.result().to_vector()[update_squares]);  // of all gradients together
  fmt::print("{} {}\n", slope.shape(), norm);

  {
    const NoGrad no_grad;  // until the end of the scope, in this thread
    const Tensor y = network(Variable(x)).value();
    fmt::print("{}\n", y.shape());
  }

  const GradcheckResult result =
      gradcheck([](const std::vector<Variable>& v) { return gelu(matmul(v[0], v[1])); },
                {x.cast(DType::float64), w.cast(DType::float64)});
  if (!result.passed) fmt::print("{}\n", result.message);  // which input, which element, both numbers
  return result.passed && std::isfinite(norm) ? 0 : 1;
}
