#include "tensor/ops/reduce.h"

#include "autograd/ops.h"
#include "tensor/ops/binary.h"

namespace vitral {
namespace {

// factor * sum over the middle of x as v; backward repeats the gradient along it.
Variable reduce(const Operation& operation, const Variable& x, AxisView v, const Shape& shape,
                double factor) {
  Tensor y(shape, x.dtype(), x.device());
  kernel::sum_axis(y, x.value(), v, factor);
  return make_result(operation, std::move(y), {x},
                     [v, factor, shape = x.shape()](const Tensor& dy, Gradients& gradients) {
                       Tensor scaled(dy.shape(), dy.dtype(), dy.device());
                       kernel::affine(scaled, dy, factor, 0);
                       Tensor dx(Shape{v.outer, v.n, v.inner}, dy.dtype(), dy.device());
                       kernel::binary(dx, scaled.reshape({v.outer, 1, v.inner}),
                                      Tensor::zeros({v.n, 1}, dy.dtype(), dy.device()), BinaryOp::add);
                       gradients.add(0, dx.reshape(shape));
                     });
}

Variable reduce_axis(const char* operation, const Variable& x, int axis, bool average) {
  check_input(operation, x);
  const int a = axis < 0 ? axis + x.rank() : axis;
  VITRAL_CHECK(a >= 0 && a < x.rank(), "{}: axis {} is out of range for {}", operation, axis, x.shape());
  const std::int64_t n = x.dim(a);
  VITRAL_CHECK(n > 0 || !average, "{}: axis {} of {} is empty", operation, axis, x.shape());
  const Shape shape = x.rank() == 1 ? Shape{1} : x.shape().without(a);
  return reduce({operation, {{"axis", a}}}, x, axis_view(x.shape(), a), shape,
                average ? 1.0 / static_cast<double>(n) : 1.0);
}

}  // namespace

Variable sum(const Variable& x) {
  check_input("sum", x);
  return reduce("sum", x, {1, x.value().numel(), 1}, {1}, 1);
}

Variable mean(const Variable& x) {
  check_input("mean", x);
  VITRAL_CHECK(x.value().numel() > 0, "mean: {} has no elements", x.shape());
  return reduce("mean", x, {1, x.value().numel(), 1}, {1}, 1.0 / static_cast<double>(x.value().numel()));
}

Variable sum(const Variable& x, int axis) { return reduce_axis("sum", x, axis, false); }
Variable mean(const Variable& x, int axis) { return reduce_axis("mean", x, axis, true); }

}  // namespace vitral
