#include "autograd/ops.h"
#include "tensor/l2_normalize.h"
#include "tensor/layer_norm.h"
#include "tensor/softmax.h"

namespace vitral {

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, double eps) {
  check_inputs("layer_norm", {&x, &weight, &bias});
  VITRAL_CHECK(x.rank() >= 1 && weight.shape() == Shape{x.dim(-1)},
               "layer_norm: weight {} must match last dim of x {}", weight.shape(), x.shape());
  VITRAL_CHECK(bias.shape() == weight.shape(), "layer_norm: bias {} must match weight {}", bias.shape(),
               weight.shape());
  const Shape rows{x.shape().product(0, x.rank() - 1)};
  Tensor y(x.shape(), x.dtype(), x.device()), mean(rows, x.dtype(), x.device()),
      rstd(rows, x.dtype(), x.device());
  kernel::layer_norm(y, mean, rstd, x.value(), weight.value(), bias.value(), eps);
  const Saved kx(x), kw(weight), kb(bias);
  return make_result(
      "layer_norm", std::move(y), {x, weight, bias},
      [kx, kw, mean, rstd](const Tensor& dy, Gradients& gradients) {
        const Tensor vx = kx.get(), vw = kw.get();
        Tensor dx(vx.shape(), vx.dtype(), vx.device());
        Tensor dw(vw.shape(), vw.dtype(), vw.device()), db(vw.shape(), vw.dtype(), vw.device());
        kernel::layer_norm_backward(dx, dw, db, dy, vx, vw, mean, rstd);
        gradients.add(0, std::move(dx));
        gradients.add(1, std::move(dw));
        gradients.add(2, std::move(db));
      },
      [kx, kw, kb, mean, rstd] {
        const Tensor vx = kx.get();
        Tensor again(vx.shape(), vx.dtype(), vx.device());
        kernel::layer_norm_apply(again, vx, kw.get(), kb.get(), mean, rstd);
        return again;
      });
}

Variable l2_normalize(const Variable& x) {
  check_input("l2_normalize", x);
  VITRAL_CHECK(x.rank() >= 1, "l2_normalize: x {} must have at least 1 dimension", x.shape());
  Tensor y(x.shape(), x.dtype(), x.device());
  kernel::l2_normalize(y, x.value());
  return make_result("l2_normalize", std::move(y), {x},
                     [kx = Saved(x)](const Tensor& dy, Gradients& gradients) {
                       Tensor dx(dy.shape(), dy.dtype(), dy.device());
                       kernel::l2_normalize_backward(dx, dy, kx.get());
                       gradients.add(0, std::move(dx));
                     });
}

Variable softmax(const Variable& x) {
  check_input("softmax", x);
  VITRAL_CHECK(x.rank() >= 1, "softmax: x {} must have at least 1 dimension", x.shape());
  Tensor y(x.shape(), x.dtype(), x.device());
  kernel::softmax(y, x.value());
  return make_result("softmax", y, {x}, [y](const Tensor& dy, Gradients& gradients) {
    Tensor dx(dy.shape(), dy.dtype(), dy.device());
    kernel::softmax_backward(dx, dy, y);
    gradients.add(0, std::move(dx));
  });
}

}  // namespace vitral
