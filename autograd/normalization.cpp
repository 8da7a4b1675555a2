#include "autograd/ops.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/l2_normalize.h"
#include "tensor/ops/layer_norm.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/softmax.h"

namespace vitral {

namespace {

void check_layer_norm(const char* operation, const Variable& x, const Variable& weight,
                      const Variable& bias) {
  check_weights(operation, x, {&weight, &bias});
  VITRAL_CHECK(x.rank() >= 1 && weight.shape() == Shape{x.dim(-1)},
               "{}: weight {} must match last dim of x {}", operation, weight.shape(), x.shape());
  VITRAL_CHECK(bias.shape() == weight.shape(), "{}: bias {} must match weight {}", operation, bias.shape(),
               weight.shape());
  check_inputs(operation, {&weight, &bias});
}

struct Normalized {
  Normalized(const Variable& x, const Variable& weight)
      : y(x.shape(), x.dtype(), x.device()), rows{statistic(x, weight), statistic(x, weight)} {}
  static Tensor statistic(const Variable& x, const Variable& weight) {
    return Tensor({x.shape().product(0, x.rank() - 1)}, weight.dtype(), x.device());
  }
  Tensor y;
  RowStatistics rows;
};

// The node of y = layer_norm(x), computed already.
Variable layer_norm_result(Normalized n, const Variable& x, const Variable& weight, const Variable& bias,
                           double eps) {
  const Saved kx(x), kw(weight), kb(bias);
  return make_result(
      {"layer_norm", {{"eps", eps}}}, std::move(n.y), {x, weight, bias},
      [kx, kw, rows = n.rows](const Tensor& dy, Gradients& gradients) {
        const Tensor vx = kx.get(), vw = kw.get();
        Tensor dw(vw.shape(), vw.dtype(), vw.device()), db(vw.shape(), vw.dtype(), vw.device());
        // In a residual block x has got a gradient from behind the block already, to which this adds its own
        // in the same pass and memory.
        gradients.accumulate<0>([&](Tensor& dx, bool add) {
          if (!dx.defined()) dx = Tensor(vx.shape(), vx.dtype(), vx.device());  // the kernel makes all three
          kernel::layer_norm_backward(dx, dw, db, dy, vx, vw, rows, add);
        });
        gradients.add(1, std::move(dw));
        gradients.add(2, std::move(db));
      },
      [kx, kw, kb, rows = n.rows] {
        const Tensor vx = kx.get();
        Tensor again(vx.shape(), vx.dtype(), vx.device());
        kernel::layer_norm_apply(again, vx, kw.get(), kb.get(), rows);
        return again;
      });
}

}  // namespace

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, double eps) {
  check_layer_norm("layer_norm", x, weight, bias);
  Normalized n(x, weight);
  kernel::layer_norm(n.y, n.rows, x.value(), weight.value(), bias.value(), eps);
  return layer_norm_result(std::move(n), x, weight, bias, eps);
}

SumAndNorm add_layer_norm(const Variable& x, const Variable& delta, const Variable& weight,
                          const Variable& bias, double eps) {
  check_layer_norm("add_layer_norm", x, weight, bias);
  check_weights("add_layer_norm", x, {&delta});
  const Shape& shape = x.shape();
  bool fits = delta.rank() >= 1 && delta.rank() <= x.rank();
  for (int i = 1; fits && i <= delta.rank(); ++i) fits = delta.dim(-i) == x.dim(-i);
  VITRAL_CHECK(fits, "add_layer_norm: delta {} must be the last dimensions of x {}", delta.shape(), shape);
  const std::int64_t width = x.dim(-1);
  Normalized n(x, weight);
  Tensor sum(shape, x.dtype(), x.device());
  kernel::add_layer_norm(sum, n.y, n.rows, x.value().reshape({-1, width}), delta.value().reshape({-1, width}),
                         weight.value(), bias.value(), eps);
  SumAndNorm out;
  out.sum =
      make_result("add", std::move(sum), {x, delta},
                  [shape = delta.shape(), dtype = delta.dtype()](const Tensor& dy, Gradients& gradients) {
                    gradients.add(0, dy);
                    if (!gradients.needs(1)) return;
                    if (dy.shape() == shape) return gradients.add(1, dy.cast(dtype));
                    const std::int64_t inner = shape.numel(), outer = inner > 0 ? dy.numel() / inner : 0;
                    Tensor g(shape, dtype, dy.device());
                    kernel::sum_axis(g, dy, {1, outer, inner}, 1);
                    gradients.add(1, std::move(g));
                  });
  out.norm = layer_norm_result(std::move(n), out.sum, weight, bias, eps);
  return out;
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

Variable logsumexp(const Variable& x) {
  check_input("logsumexp", x);
  VITRAL_CHECK(x.rank() >= 1 && x.dim(-1) > 0, "logsumexp: x {} must have at least 1 dimension, not empty",
               x.shape());
  const Tensor rows = x.value().reshape({-1, x.dim(-1)});
  Tensor y({rows.dim(0), 1}, x.dtype(), x.device());
  kernel::logsumexp(y, rows);
  return make_result("logsumexp", y.reshape(x.rank() == 1 ? Shape{1} : x.shape().without(x.rank() - 1)), {x},
                     [kx = Saved(x)](const Tensor& dy, Gradients& gradients) {
                       const Tensor vx = kx.get();
                       Tensor p(vx.shape(), vx.dtype(), vx.device());
                       kernel::softmax(p, vx);
                       Tensor dx(vx.shape(), vx.dtype(), vx.device());
                       kernel::binary(dx, p, dy.reshape(vx.shape().with(vx.rank() - 1, 1)), BinaryOp::mul);
                       gradients.add(0, std::move(dx));
                     });
}

}  // namespace vitral
