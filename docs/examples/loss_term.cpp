// Another term of the loss: docs/extending.md explains it.
#include <cstdio>

#include "autograd/gradcheck.h"
#include "nn/nn.h"

using namespace vitral;

// Mean over images of (log |y| - log |t|)^2; y, t [B,D] -> [1].
Variable length_loss(const Variable& y, const Variable& t) {
  const Variable squares = sub(log(sum(square(y), 1)), log(sum(square(t), 1)));  // 2 (log |y| - log |t|)
  return affine(mean(square(squares)), 0.25);
}

int main() {
  Random random(3);
  const Tensor y = nn::uniform({4, 6}, 1, random).cast(DType::float64);
  const Tensor t = nn::uniform({4, 6}, 1, random).cast(DType::float64);
  const GradcheckResult result =
      gradcheck([](const std::vector<Variable>& x) { return length_loss(x[0], x[1]); }, {y, t});
  std::printf("%s\n", result.message.c_str());
  return result.passed && length_loss(Variable(y), Variable(y)).item() < 1e-12 ? 0 : 1;
}
