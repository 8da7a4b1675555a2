#include "autograd/ops.h"
#include "tensor/binary.h"
#include "tensor/gemm.h"
#include "tensor/reduce.h"

namespace vitral {
namespace {

Tensor product(const Tensor& a, const Tensor& b, const Shape& shape, kernel::GemmOptions options) {
  Tensor c(shape, a.dtype(), a.device());
  kernel::gemm(c, a, b, options);
  return c;
}

}  // namespace

// matmul:  dA = dC B^T,  dB = A^T dC;  a b without batch dimensions gets the sum over the batch, which is one
// product of the flattened rows.
Variable matmul(const Variable& a, const Variable& b, bool transpose_b) {
  check_inputs("matmul", {&a, &b});
  VITRAL_CHECK(a.rank() >= 2 && b.rank() >= 2, "matmul: {} and {} must have at least 2 dimensions", a.shape(),
               b.shape());
  const std::int64_t k = a.dim(-1), n = b.dim(transpose_b ? -2 : -1);
  VITRAL_CHECK(b.dim(transpose_b ? -1 : -2) == k, "matmul: {} and {}{} must agree in the inner dimension",
               a.shape(), b.shape(), transpose_b ? " (transposed)" : "");
  const bool shared = b.rank() == 2;
  VITRAL_CHECK(shared || a.shape().with(-1, 1).with(-2, 1) == b.shape().with(-1, 1).with(-2, 1),
               "matmul: {} and {} must have the same batch dimensions, or the second none", a.shape(),
               b.shape());
  Tensor c = product(a.value(), b.value(), a.shape().with(-1, n), {.transpose_b = transpose_b});
  return make_result("matmul", std::move(c), {a, b},
                     [ka = Saved(a), kb = Saved(b), sa = a.shape(), sb = b.shape(), shared, transpose_b, k,
                      n](const Tensor& dc, Gradients& gradients) {
                       if (gradients.needs(0))
                         gradients.add(0, product(dc, kb.get(), sa, {.transpose_b = !transpose_b}));
                       if (!gradients.needs(1)) return;
                       Tensor va = ka.get(), g = dc;
                       if (shared) va = va.reshape({-1, k}), g = g.reshape({-1, n});
                       gradients.add(1, transpose_b ? product(g, va, sb, {.transpose_a = true})
                                                    : product(va, g, sb, {.transpose_a = true}));
                     });
}

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  check_inputs("linear", {&x, &weight, bias.defined() ? &bias : &weight});
  VITRAL_CHECK(x.rank() >= 1 && weight.rank() == 2 && x.dim(-1) == weight.dim(1),
               "linear: weight {} must be [O, I] with I the last dim of x {}", weight.shape(), x.shape());
  VITRAL_CHECK(!bias.defined() || bias.shape() == Shape{weight.dim(0)},
               "linear: bias {} must match the first dim of weight {}", bias.shape(), weight.shape());
  const std::int64_t in = weight.dim(1), out = weight.dim(0), rows = x.shape().product(0, x.rank() - 1);
  Tensor y({rows, out}, x.dtype(), x.device());
  // The bias is written first and the product added to it: one pass over y less than adding it after.
  if (bias.defined())
    kernel::binary(y, Tensor::zeros({rows, 1}, x.dtype(), x.device()), bias.value(), BinaryOp::add);
  kernel::gemm(y, x.value().reshape({rows, in}), weight.value(),
               {.transpose_b = true, .accumulate = bias.defined()});
  std::vector<Variable> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return make_result(
      "linear", y.reshape(x.shape().with(-1, out)), std::move(inputs),
      [kx = Saved(x), kw = Saved(weight), shape = x.shape(), rows, in, out, biased = bias.defined()](
          const Tensor& dy, Gradients& gradients) {
        const Tensor g = dy.reshape({rows, out});
        if (gradients.needs(1))
          gradients.add(1, product(g, kx.get().reshape({rows, in}), {out, in}, {.transpose_a = true}));
        if (biased && gradients.needs(2)) {
          Tensor db({out}, g.dtype(), g.device());
          kernel::sum_axis(db, g, 1, rows, out, 1);
          gradients.add(2, std::move(db));
        }
        if (gradients.needs(0)) gradients.add(0, product(g, kw.get(), {rows, in}, {}).reshape(shape));
      });
}

}  // namespace vitral
