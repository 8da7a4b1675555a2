#include "autograd/composed.h"
#include "autograd/trace.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/distillation_loss.h"

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
  // The kernel gives no gradient of t, and knows no bfloat16.
  if (t.requires_grad() || y.dtype() == DType::bfloat16 || Trace::active())
    return composed::distillation_loss(y, t, norm);
  Tensor loss({1}, y.dtype(), y.device()), dy;
  if (grad_enabled() && y.requires_grad()) dy = Tensor(y.shape(), y.dtype(), y.device());
  kernel::distillation_loss(loss, dy, y.value(), t.value(), norm);
  return make_result("distillation_loss", std::move(loss), {y},
                     [dy](const Tensor& dloss, Gradients& gradients) {
                       Tensor g(dy.shape(), dy.dtype(), dy.device());
                       kernel::binary(g, dy, dloss, BinaryOp::mul);
                       gradients.add(0, std::move(g));
                     });
}

}  // namespace vitral
