// Another term of the loss: docs/extending.md explains it.
#include <cstdio>

#include "autograd/gradcheck.h"
#include "nn/nn.h"

using namespace vitral;

// Mean over images of 1 - y^ . t^, y^ and t^ of unit length; y, t [B,D] -> [1].
Variable cosine_loss(const Variable& y, const Variable& t) {
  return affine(mean(sum(mul(l2_normalize(y), l2_normalize(t)), 1)), -1, 1);
}

int main() {
  Random random(3);
  const Tensor y = nn::uniform({4, 6}, 1, random).cast(DType::float64);
  const Tensor t = nn::uniform({4, 6}, 1, random).cast(DType::float64);
  const GradcheckResult result =
      gradcheck([](const std::vector<Variable>& x) { return cosine_loss(x[0], x[1]); }, {y, t});
  std::printf("%s\n", result.message.c_str());
  return result.passed && cosine_loss(Variable(y), Variable(y)).item() < 1e-12 ? 0 : 1;
}
