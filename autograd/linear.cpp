#include <optional>

#include "autograd/ops.h"
#include "autograd/trace.h"
#include "tensor/ops/linear_int8.h"

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
  return make_result({"matmul", {{"transpose_b", std::int64_t{transpose_b}}}}, std::move(c), {a, b},
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

Variable mix_tokens(const Variable& x, const Variable& weights) {
  VITRAL_CHECK(x.rank() == 3 && weights.rank() == 2 && weights.dim(1) == x.dim(1),
               "mix_tokens: weights {} must be [R, N] with N tokens of x {}", weights.shape(), x.shape());
  return permute(matmul(permute(x, {0, 2, 1}), weights, true), {0, 2, 1});
}

namespace {

// A linear layer on x as rows [R,I], its parameters float32 perhaps beside a bfloat16 x.
struct LinearLayer {
  LinearLayer(const char* name, const Variable& x_, const Weight& weight_, const Weight& bias_)
      : operation(name), x(x_), weight(weight_), bias(bias_) {
    check_weights(operation, x, {weight.quantized() ? &bias.variable : &weight.variable, &bias.variable});
    VITRAL_CHECK(x.rank() >= 1 && weight.rank() == 2 && x.dim(-1) == weight.dim(1),
                 "{}: weight {} must be [O, I] with I the last dim of x {}", operation, weight.shape(),
                 x.shape());
    VITRAL_CHECK(!bias.defined() || bias.shape() == Shape{weight.dim(0)},
                 "{}: bias {} must match the first dim of weight {}", operation, bias.shape(),
                 weight.shape());
    VITRAL_CHECK(!weight.quantized() || (x.dtype() != DType::float64 && weight.dim(1) <= int8_longest_row),
                 "{}: int8 weights need a float32 or bfloat16 x and rows of at most {}; x is {}, weight {}",
                 operation, int8_longest_row, x.dtype(), weight.shape());
    rows = x.shape().product(0, x.rank() - 1);
  }

  Tensor new_output() const { return Tensor({rows, weight.dim(0)}, x.dtype(), x.device()); }
  Tensor x_rows() const { return x.value().reshape({rows, weight.dim(1)}); }
  Tensor packed() const { return grad_enabled() ? Tensor() : weight.packed_for(x.dtype()); }
  // What products read, in the dtype of x.
  Tensor product_bias() const { return bias.defined() ? bias.as(x.dtype()) : Tensor(); }
  Tensor float_bias() const { return bias.defined() ? bias.as(DType::float32) : Tensor(); }
  Saved product_weight() const {
    return weight.dtype() == x.dtype() ? Saved(weight.variable) : Saved(weight.as(x.dtype()));
  }

  // What stands before the product: f(x), which backward computes again where it is not kept.
  struct Activation {
    ActivationKernels f;
    Tensor kept = {};
    std::shared_ptr<const void> counted = {};
  };

  // Of x as rows. Only the gradient of the weight reads it.
  Activation activation(const ActivationKernels& f) const {
    if (!grad_enabled() || !weight.variable.requires_grad()) return {f};
    const Tensor h = x_rows();
    if (results_are_kept()) return {f, Tensor(h.shape(), h.dtype(), h.device())};
    return {f, {}, count_recomputed(h)};
  }

  // The node of y = f(x) weight^T + bias, or without f of x weight^T + bias, computed already.
  Variable result(const Tensor& y, Saved product_weight, std::optional<Activation> before = {}) const {
    std::vector<Variable> inputs{x, weight.variable};
    if (bias.defined()) inputs.push_back(bias.variable);
    const std::int64_t out = weight.dim(0), in = weight.dim(1);
    return make_result(operation, y.reshape(x.shape().with(-1, out)), std::move(inputs),
                       [kx = Saved(x), kw = std::move(product_weight), shape = x.shape(), r = rows, in, out,
                        before = std::move(before)](const Tensor& dy, Gradients& gradients) {
                         const Tensor g = dy.reshape({r, out});
                         Tensor dx;
                         if (before) {
                           const Tensor h = kx.get().reshape({r, in});
                           dx = Tensor(h.shape(), h.dtype(), h.device());
                           gradients.accumulate<1, 2>([&](Tensor& dweight, Tensor& dbias, bool add) {
                             kernel::activation_linear_backward(dx, dweight, dbias, g, h, before->kept,
                                                                kw.get(), before->f, add);
                           });
                         } else {
                           if (gradients.needs(1) || gradients.needs(2))
                             gradients.accumulate<1, 2>([&](Tensor& dweight, Tensor& dbias, bool add) {
                               kernel::linear_backward(dweight, dbias, g, kx.get().reshape({r, in}), add);
                             });
                           if (gradients.needs(0)) dx = product(g, kw.get(), {r, in}, {});
                         }
                         if (gradients.needs(0)) gradients.add(0, dx.reshape(shape));
                       });
  }

  // The same of an int8 weight, which has no gradients.
  Variable result_int8(const Tensor& y) const {
    std::vector<Variable> inputs{x, weight.variable, Variable(weight.scale)};
    if (bias.defined()) inputs.push_back(bias.variable);
    return make_result(
        "linear_int8", y.reshape(x.shape().with(-1, weight.dim(0))), std::move(inputs),
        [](const Tensor&, Gradients&) {
          throw_error<UsageError>("linear: int8 weights have no gradients; train from the float32 ones");
        });
  }

  const char* operation;
  const Variable& x;
  const Weight &weight, &bias;
  std::int64_t rows;
};

}  // namespace

Variable linear(const Variable& x, const Weight& weight, const Weight& bias) {
  const LinearLayer layer("linear", x, weight, bias);
  Tensor y = layer.new_output();
  if (weight.quantized()) {
    kernel::linear_int8(y, layer.x_rows(), weight.variable.value(), weight.packed, weight.scale,
                        layer.float_bias());
    return layer.result_int8(y);
  }
  if (const Tensor packed = layer.packed(); packed.defined()) {
    kernel::linear_packed(y, layer.x_rows(), packed, layer.product_bias());
    return layer.result(y, {});
  }
  const Saved w = layer.product_weight();
  kernel::linear(y, layer.x_rows(), w.get(), layer.product_bias());
  return layer.result(y, w);
}

Variable activation_linear(const Variable& h, const Weight& weight, const Weight& bias,
                           const ActivationKernels& f) {
  const LinearLayer layer("activation_linear", h, weight, bias);
  if (Trace::active()) {
    Tensor activation(h.shape(), h.dtype(), h.device());
    f.value(activation, h.value());
    return linear(make_result(f.value.name(), std::move(activation), {h}, {}), weight, bias);
  }
  Tensor y = layer.new_output();
  if (weight.quantized()) {
    kernel::activation_linear_int8(y, layer.x_rows(), weight.variable.value(), weight.packed, weight.scale,
                                   layer.float_bias(), f);
    return layer.result_int8(y);
  }
  const Saved w = layer.product_weight();
  auto activation = layer.activation(f);
  kernel::activation_linear(y, activation.kept, layer.x_rows(), w.get(), layer.product_bias(), layer.packed(),
                            f);
  return layer.result(y, w, std::move(activation));
}

namespace {

// As activation_linear(linear(x)), whose activation comes out of the first product.
Variable mlp_keeping_activation(const Variable& x, const Weight& first, const Weight& first_bias,
                                const Weight& second, const Weight& second_bias, const ActivationKernels& f) {
  const LinearLayer front("linear", x, first, first_bias);
  Tensor h = front.new_output(), activation = front.new_output();
  const Saved first_weight = front.product_weight();
  kernel::linear_activation(h, activation, front.x_rows(), first_weight.get(), front.product_bias(), f);
  const Variable hidden = front.result(h, first_weight);
  const LinearLayer back("activation_linear", hidden, second, second_bias);
  Tensor y = back.new_output();
  const Saved second_weight = back.product_weight();
  kernel::linear(y, activation, second_weight.get(), back.product_bias());
  return back.result(y, second_weight, LinearLayer::Activation{f, activation});
}

}  // namespace

Variable mlp(const Variable& x, const Weight& first, const Weight& first_bias, const Weight& second,
             const Weight& second_bias, const ActivationKernels& f) {
  const bool is_float = !first.quantized() && !second.quantized();
  if (is_float && grad_enabled() && results_are_always_kept() && !Trace::active() &&
      kernel::linear_activation.implemented(x.device().kind))
    return mlp_keeping_activation(x, first, first_bias, second, second_bias, f);
  if (!first.quantized() || !second.quantized() || grad_enabled() || Trace::active())
    return activation_linear(linear(x, first, first_bias), second, second_bias, f);
  const LinearLayer layer("mlp", x, first, first_bias);
  VITRAL_CHECK(
      second.rank() == 2 && second.dim(1) == first.dim(0) && second.dim(1) <= int8_longest_row &&
          (!second_bias.defined() || second_bias.shape() == Shape{second.dim(0)}),
      "mlp: weights {} and {} must be [H, I] and [O, H], of int8 with H at most {}, their biases [H] "
      "and [O]",
      first.shape(), second.shape(), int8_longest_row);
  const auto int8_layer = [](const Weight& weight, const Weight& bias) -> kernel::Int8Layer {
    return {weight.variable.value(), weight.packed, weight.scale,
            bias.defined() ? bias.as(DType::float32) : Tensor()};
  };
  Tensor y({layer.rows, second.dim(0)}, x.dtype(), x.device());
  kernel::mlp_int8(y, layer.x_rows(), int8_layer(first, first_bias), int8_layer(second, second_bias), f);
  return Variable(y.reshape(x.shape().with(-1, second.dim(0))));
}

}  // namespace vitral
