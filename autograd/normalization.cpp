#include "autograd/composed.h"
#include "autograd/ops.h"
#include "autograd/trace.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/l2_normalize.h"
#include "tensor/ops/layer_norm.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/softmax.h"

namespace vitral {

namespace {

// layer_norm and rms_norm, which has no bias: undefined here.
struct Norm {
  const char *name, *add_name;
  const NormKernel& forward;
  const AddNormKernel& add;
  const NormApplyKernel& apply;
  const NormBackwardKernel& backward;
  bool centred;
};
constexpr Norm layer{"layer_norm",
                     "add_layer_norm",
                     kernel::layer_norm,
                     kernel::add_layer_norm,
                     kernel::layer_norm_apply,
                     kernel::layer_norm_backward,
                     true};
constexpr Norm rms{"rms_norm",
                   "add_rms_norm",
                   kernel::rms_norm,
                   kernel::add_rms_norm,
                   kernel::rms_norm_apply,
                   kernel::rms_norm_backward,
                   false};

void check_norm(const char* operation, const Norm& norm, const Variable& x, const Variable& weight,
                const Variable& bias) {
  check_weights(operation, x, {&weight, &bias});
  VITRAL_CHECK(x.rank() >= 1 && weight.shape() == Shape{x.dim(-1)},
               "{}: weight {} must match last dim of x {}", operation, weight.shape(), x.shape());
  if (!norm.centred) return;
  VITRAL_CHECK(bias.shape() == weight.shape(), "{}: bias {} must match weight {}", operation, bias.shape(),
               weight.shape());
  check_inputs(operation, {&weight, &bias});
}

struct Normalized {
  Normalized(const Norm& norm, const Variable& x, const Variable& weight)
      : y(x.shape(), x.dtype(), x.device()),
        rows{norm.centred ? statistic(x, weight) : Tensor(), statistic(x, weight)} {}
  static Tensor statistic(const Variable& x, const Variable& weight) {
    return Tensor({x.shape().product(0, x.rank() - 1)}, weight.dtype(), x.device());
  }
  Tensor y;
  RowStatistics rows;
};

// The node of y = norm(x), computed already.
Variable norm_result(const Norm& norm, Normalized n, const Variable& x, const Variable& weight,
                     const Variable& bias, double eps) {
  const Saved kx(x), kw(weight), kb(bias);
  std::vector<Variable> inputs{x, weight};
  if (norm.centred) inputs.push_back(bias);
  return make_result(
      {norm.name, {{"eps", eps}}}, std::move(n.y), std::move(inputs),
      [&norm, kx, kw, rows = n.rows](const Tensor& dy, Gradients& gradients) {
        const Tensor vx = kx.get(), vw = kw.get();
        Tensor dw(vw.shape(), vw.dtype(), vw.device()), db;
        if (norm.centred) db = Tensor(vw.shape(), vw.dtype(), vw.device());
        // In a residual block x has got a gradient from behind the block already, to which this adds its own
        // in the same pass and memory.
        gradients.accumulate<0>([&](Tensor& dx, bool add) {
          if (!dx.defined()) dx = Tensor(vx.shape(), vx.dtype(), vx.device());  // the kernel makes all
          norm.backward(dx, dw, db, dy, vx, vw, rows, add);
        });
        gradients.add(1, std::move(dw));
        if (norm.centred) gradients.add(2, std::move(db));
      },
      [&norm, kx, kw, kb, rows = n.rows] {
        const Tensor vx = kx.get();
        Tensor again(vx.shape(), vx.dtype(), vx.device());
        norm.apply(again, vx, kw.get(), kb.get(), rows);
        return again;
      });
}

Variable normalize(const Norm& norm, const Variable& x, const Variable& weight, const Variable& bias,
                   double eps) {
  check_norm(norm.name, norm, x, weight, bias);
  Normalized n(norm, x, weight);
  norm.forward(n.y, n.rows, x.value(), weight.value(), bias.value(), eps);
  return norm_result(norm, std::move(n), x, weight, bias, eps);
}

SumAndNorm add_and_normalize(const Norm& norm, const Variable& x, const Variable& delta,
                             const Variable& weight, const Variable& bias, double eps) {
  check_norm(norm.add_name, norm, x, weight, bias);
  check_weights(norm.add_name, x, {&delta});
  const Shape& shape = x.shape();
  bool fits = delta.rank() >= 1 && delta.rank() <= x.rank();
  for (int i = 1; fits && i <= delta.rank(); ++i) fits = delta.dim(-i) == x.dim(-i);
  VITRAL_CHECK(fits, "{}: delta {} must be the last dimensions of x {}", norm.add_name, delta.shape(), shape);
  const std::int64_t width = x.dim(-1);
  Normalized n(norm, x, weight);
  Tensor sum(shape, x.dtype(), x.device());
  norm.add(sum, n.y, n.rows, x.value().reshape({-1, width}), delta.value().reshape({-1, width}),
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
  out.norm = norm_result(norm, std::move(n), out.sum, weight, bias, eps);
  return out;
}

}  // namespace

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, double eps) {
  return normalize(layer, x, weight, bias, eps);
}

SumAndNorm add_layer_norm(const Variable& x, const Variable& delta, const Variable& weight,
                          const Variable& bias, double eps) {
  return add_and_normalize(layer, x, delta, weight, bias, eps);
}

Variable rms_norm(const Variable& x, const Variable& weight, double eps) {
  if (Trace::active()) return composed::rms_norm(x, weight, eps);
  return normalize(rms, x, weight, {}, eps);
}

SumAndNorm add_rms_norm(const Variable& x, const Variable& delta, const Variable& weight, double eps) {
  if (Trace::active()) return composed::add_rms_norm(x, delta, weight, eps);
  return add_and_normalize(rms, x, delta, weight, {}, eps);
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
