#include "tensor/ops/pointwise.h"

#include "autograd/ops.h"

namespace vitral {
namespace {

Tensor compute(const PointwiseKernel& f, const Tensor& x) {
  Tensor y(x.shape(), x.dtype(), x.device());
  f(y, x);
  return y;
}

// Saves x, not y: y is cheap to compute again, so whoever saves y keeps only this recipe.
Variable unary(const PointwiseKernel& f, const PointwiseBackwardKernel& derivative, const Variable& x) {
  check_input(f.name(), x);
  Tensor y = compute(f, x.value());
  if (!grad_enabled() || !x.requires_grad()) return make_result(f.name(), std::move(y), {x}, {});
  const Saved saved(x);
  return make_result(
      f.name(), std::move(y), {x},
      [&derivative, saved](const Tensor& dy, Gradients& gradients) {
        Tensor dx(dy.shape(), dy.dtype(), dy.device());
        derivative(dx, dy, saved.get());
        gradients.add(0, std::move(dx));
      },
      [&f, saved] { return compute(f, saved.get()); });
}

}  // namespace

#define VITRAL_DEFINE(name, Functor) \
  Variable name(const Variable& x) { return unary(kernel::name, kernel::name##_backward, x); }
VITRAL_POINTWISE_OPS(VITRAL_DEFINE)
#undef VITRAL_DEFINE

}  // namespace vitral
