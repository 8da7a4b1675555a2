// Losses, composed of other operations.
#include "autograd/ops.h"

namespace vitral {

Variable mse_loss(const Variable& a, const Variable& b) {
  check_inputs("mse_loss", {&a, &b});
  VITRAL_CHECK(a.shape() == b.shape(), "mse_loss: {} and {} must be equal", a.shape(), b.shape());
  return mean(square(sub(a, b)));
}

Variable distillation_loss(const Variable& y, const Variable& t, double norm) {
  check_inputs("distillation_loss", {&y, &t});
  VITRAL_CHECK(y.shape() == t.shape() && y.rank() == 2,
               "distillation_loss: embeddings {} and targets {} must both be [B, D]", y.shape(), t.shape());
  return affine(mean(abs(sub(l2_normalize(y), l2_normalize(t)))), norm);
}

}  // namespace vitral
