#include "tensor/ops/binary.h"

#include "autograd/ops.h"
#include "tensor/ops/reduce.h"

namespace vitral {
namespace {

Tensor compute(const char* operation, BinaryOp op, const Tensor& a, const Tensor& b) {
  Tensor y(broadcast_shape(operation, a.shape(), b.shape()), a.dtype(), a.device());
  kernel::binary(y, a, b, op);
  return y;
}

Tensor scaled(const Tensor& x, double factor) {
  Tensor y(x.shape(), x.dtype(), x.device());
  kernel::affine(y, x, factor, 0);
  return y;
}

// Sums a gradient over the dimensions along which an input of `shape` was repeated.
Tensor sum_to(Tensor g, const Shape& shape) {
  const int extra = g.rank() - shape.rank();
  for (int axis = 0; axis < g.rank(); ++axis) {
    const bool repeated = axis < extra || (shape[axis - extra] == 1 && g.shape()[axis] != 1);
    if (!repeated) continue;
    Tensor sum(g.shape().with(axis, 1), g.dtype(), g.device());
    kernel::sum_axis(sum, g, axis_view(g.shape(), axis), 1);
    g = std::move(sum);
  }
  return g.reshape(shape);
}

}  // namespace

Variable add(const Variable& a, const Variable& b) {
  check_inputs("add", {&a, &b});
  return make_result("add", compute("add", BinaryOp::add, a.value(), b.value()), {a, b},
                     [sa = a.shape(), sb = b.shape()](const Tensor& dy, Gradients& gradients) {
                       if (gradients.needs(0)) gradients.add(0, sum_to(dy, sa));
                       if (gradients.needs(1)) gradients.add(1, sum_to(dy, sb));
                     });
}

Variable sub(const Variable& a, const Variable& b) {
  check_inputs("sub", {&a, &b});
  return make_result("sub", compute("sub", BinaryOp::sub, a.value(), b.value()), {a, b},
                     [sa = a.shape(), sb = b.shape()](const Tensor& dy, Gradients& gradients) {
                       if (gradients.needs(0)) gradients.add(0, sum_to(dy, sa));
                       if (gradients.needs(1)) gradients.add(1, scaled(sum_to(dy, sb), -1));
                     });
}

// Keeps both factors, from which the product is cheap to compute again: a gated MLP saves no third tensor.
Variable mul(const Variable& a, const Variable& b) {
  check_inputs("mul", {&a, &b});
  const Saved ka(a), kb(b);
  return make_result(
      "mul", compute("mul", BinaryOp::mul, a.value(), b.value()), {a, b},
      [ka, kb, sa = a.shape(), sb = b.shape()](const Tensor& dy, Gradients& gradients) {
        if (gradients.needs(0)) gradients.add(0, sum_to(compute("mul", BinaryOp::mul, dy, kb.get()), sa));
        if (gradients.needs(1)) gradients.add(1, sum_to(compute("mul", BinaryOp::mul, dy, ka.get()), sb));
      },
      [ka, kb] { return compute("mul", BinaryOp::mul, ka.get(), kb.get()); });
}

// d(a/b) = da / b - (a / b) db / b
Variable div(const Variable& a, const Variable& b) {
  check_inputs("div", {&a, &b});
  return make_result(
      "div", compute("div", BinaryOp::div, a.value(), b.value()), {a, b},
      [ka = Saved(a), kb = Saved(b), sa = a.shape(), sb = b.shape()](const Tensor& dy, Gradients& gradients) {
        const Tensor vb = kb.get();
        const Tensor g = compute("div", BinaryOp::div, dy, vb);
        if (gradients.needs(0)) gradients.add(0, sum_to(g, sa));
        if (!gradients.needs(1)) return;
        const Tensor y = compute("div", BinaryOp::div, ka.get(), vb);
        gradients.add(1, scaled(sum_to(compute("div", BinaryOp::mul, g, y), sb), -1));
      });
}

Variable minimum(const Variable& a, const Variable& b) {
  check_inputs("minimum", {&a, &b});
  return make_result(
      "minimum", compute("minimum", BinaryOp::minimum, a.value(), b.value()), {a, b},
      [ka = Saved(a), kb = Saved(b), sa = a.shape(), sb = b.shape()](const Tensor& dy, Gradients& gradients) {
        const Tensor to_a = compute("minimum", BinaryOp::less_equal, ka.get(), kb.get());
        const Tensor ga = compute("minimum", BinaryOp::mul, dy, to_a);
        if (gradients.needs(1)) gradients.add(1, sum_to(compute("minimum", BinaryOp::sub, dy, ga), sb));
        if (gradients.needs(0)) gradients.add(0, sum_to(ga, sa));
      });
}

Variable affine(const Variable& x, double factor, double shift) {
  check_input("affine", x);
  Tensor y(x.shape(), x.dtype(), x.device());
  kernel::affine(y, x.value(), factor, shift);
  return make_result(
      {"affine", {{"factor", factor}, {"shift", shift}}}, std::move(y), {x},
      [factor](const Tensor& dy, Gradients& gradients) { gradients.add(0, scaled(dy, factor)); });
}

}  // namespace vitral
