#include "tensor/ops/linear.h"

#include "autograd/ops.h"
#include "tensor/ops/reduce.h"

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

namespace {

// A linear layer on x as rows [R,I], its parameters float32 perhaps beside a bfloat16 x.
struct LinearShapes {
  LinearShapes(const char* operation, const Variable& x, const Weight& weight, const Weight& bias) {
    check_weights(operation, x, {&weight.variable, &bias.variable});
    VITRAL_CHECK(x.rank() >= 1 && weight.rank() == 2 && x.dim(-1) == weight.dim(1),
                 "{}: weight {} must be [O, I] with I the last dim of x {}", operation, weight.shape(),
                 x.shape());
    VITRAL_CHECK(!bias.defined() || bias.shape() == Shape{weight.dim(0)},
                 "{}: bias {} must match the first dim of weight {}", operation, bias.shape(),
                 weight.shape());
    in = weight.dim(1), out = weight.dim(0), rows = x.shape().product(0, x.rank() - 1);
    dtype = weight.dtype();
    biased = bias.defined();
    x_shape = x.shape();
  }

  std::int64_t rows, in, out;
  DType dtype;  // of the parameters, and so of their gradients
  bool biased;
  Shape x_shape;
};

// `packed`: the weight as pack_weight made it, or undefined.
Tensor linear_forward(const LinearShapes& l, const Tensor& x, const Tensor& weight, const Weight& bias,
                      const Tensor& packed = {}) {
  Tensor y({l.rows, l.out}, x.dtype(), x.device());
  const Tensor rows = x.reshape({l.rows, l.in}), b = l.biased ? bias.as(x.dtype()) : Tensor();
  if (packed.defined())
    kernel::linear_packed(y, rows, packed, b);
  else
    kernel::linear(y, rows, weight, b);
  return y.reshape(l.x_shape.with(-1, l.out));
}

// The weight as the products read it, in the dtype of x.
Saved product_weight(const Variable& x, const Weight& weight) {
  return weight.dtype() == x.dtype() ? Saved(weight.variable) : Saved(weight.as(x.dtype()));
}

// The gradients of weight and bias, inputs 1 and 2 of the node, by compute(dweight, dbias, accumulate): new
// ones or, where another micro-batch was here before, added to what it left.
template <class F>
void parameter_gradients(const LinearShapes& l, Device device, Gradients& gradients, F&& compute) {
  const bool wants_bias = l.biased && gradients.needs(2);
  Tensor dweight = gradients.collected(1), dbias = wants_bias ? gradients.collected(2) : Tensor();
  if (dweight.defined() && (!wants_bias || dbias.defined())) return compute(dweight, dbias, true);
  dweight = Tensor({l.out, l.in}, l.dtype, device);
  if (wants_bias) dbias = Tensor({l.out}, l.dtype, device);
  compute(dweight, dbias, false);
  gradients.add(1, std::move(dweight));
  if (wants_bias) gradients.add(2, std::move(dbias));
}

// x is needed for the gradient of the weight only.
void linear_parameter_gradients(const LinearShapes& l, const Tensor& dy, const Tensor& x,
                                Gradients& gradients) {
  if (gradients.needs(1))
    return parameter_gradients(l, dy.device(), gradients, [&](Tensor& dw, Tensor& db, bool accumulate) {
      kernel::linear_backward(dw, db, dy, x.reshape({l.rows, l.in}), accumulate);
    });
  if (!l.biased || !gradients.needs(2)) return;
  Tensor dbias({l.out}, l.dtype, dy.device());
  kernel::sum_axis(dbias, dy, 1, l.rows, l.out, 1);
  gradients.add(2, std::move(dbias));
}

Tensor linear_input_gradient(const LinearShapes& l, const Tensor& dy, const Tensor& weight) {
  return product(dy, weight, {l.rows, l.in}, {}).reshape(l.x_shape);
}

std::vector<Variable> linear_inputs(const Variable& x, const Weight& weight, const Weight& bias) {
  std::vector<Variable> inputs{x, weight.variable};
  if (bias.defined()) inputs.push_back(bias.variable);
  return inputs;
}

}  // namespace

Variable linear(const Variable& x, const Weight& weight, const Weight& bias) {
  const LinearShapes l("linear", x, weight, bias);
  if (const Tensor packed = weight.packed_for(x.dtype()); packed.defined() && !grad_enabled())
    return Variable(linear_forward(l, x.value(), {}, bias, packed));
  const Saved kw = product_weight(x, weight);
  return make_result("linear", linear_forward(l, x.value(), kw.get(), bias), linear_inputs(x, weight, bias),
                     [l, kx = Saved(x), kw](const Tensor& dy, Gradients& gradients) {
                       const Tensor g = dy.reshape({l.rows, l.out});
                       linear_parameter_gradients(l, g, gradients.needs(1) ? kx.get() : Tensor(), gradients);
                       if (gradients.needs(0)) gradients.add(0, linear_input_gradient(l, g, kw.get()));
                     });
}

Variable quick_gelu_linear(const Variable& h, const Weight& weight, const Weight& bias) {
  const LinearShapes l("quick_gelu_linear", h, weight, bias);
  const bool fused = kernel::quick_gelu_linear.implemented(h.device().kind);
  if (!grad_enabled() && !fused) return linear(quick_gelu(h), weight, bias);
  const Saved kw = product_weight(h, weight);
  Tensor y;
  if (fused) {
    y = Tensor({l.rows, l.out}, h.dtype(), h.device());
    kernel::quick_gelu_linear(y, h.value().reshape({l.rows, l.in}), kw.get(),
                              l.biased ? bias.as(h.dtype()) : Tensor(),
                              grad_enabled() ? Tensor() : weight.packed_for(h.dtype()));
    y = y.reshape(l.x_shape.with(-1, l.out));
  } else {
    Tensor activation(h.shape(), h.dtype(), h.device());
    kernel::quick_gelu(activation, h.value());
    y = linear_forward(l, activation, kw.get(), bias);
  }
  return make_result("quick_gelu_linear", std::move(y), linear_inputs(h, weight, bias),
                     [l, kh = Saved(h), kw, fused](const Tensor& dy, Gradients& gradients) {
                       const Tensor g = dy.reshape({l.rows, l.out}), vh = kh.get();
                       Tensor dh;
                       if (fused && gradients.needs(1)) {
                         dh = Tensor(vh.shape(), vh.dtype(), vh.device());
                         Tensor rows = dh.reshape({l.rows, l.in});
                         parameter_gradients(
                             l, g.device(), gradients, [&](Tensor& dw, Tensor& db, bool accumulate) {
                               kernel::quick_gelu_linear_backward(rows, dw, db, g, vh.reshape({l.rows, l.in}),
                                                                  kw.get(), accumulate);
                             });
                       } else {
                         // The gradient goes through the product first, so that one pass over h gives what
                         // backward needs of the activation and of its derivative.
                         dh = linear_input_gradient(l, g, kw.get());
                         Tensor again(vh.shape(), vh.dtype(), vh.device());
                         kernel::quick_gelu_both(again, dh, dh, vh);
                         linear_parameter_gradients(l, g, again, gradients);
                       }
                       if (gradients.needs(0)) gradients.add(0, std::move(dh));
                     });
}

}  // namespace vitral
