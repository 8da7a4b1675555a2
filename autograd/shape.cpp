#include "autograd/composed.h"
#include "autograd/trace.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/copy.h"
#include "tensor/ops/reduce.h"

namespace vitral {
namespace {

int checked_axis(const char* operation, const Variable& x, int axis) {
  const int a = axis < 0 ? axis + x.rank() : axis;
  VITRAL_CHECK(a >= 0 && a < x.rank(), "{}: axis {} is out of range for {}", operation, axis, x.shape());
  return a;
}

Tensor permuted(const Tensor& x, const kernel::Axes& axes) {
  Shape shape;
  for (int i = 0; i < x.rank(); ++i) shape = shape.append(x.shape()[axes[static_cast<std::size_t>(i)]]);
  Tensor y(shape, x.dtype(), x.device());
  kernel::permute(y, x, axes);
  return y;
}

}  // namespace

Variable reshape(const Variable& x, std::initializer_list<std::int64_t> dims) {
  return reshape(x, x.value().reshape(dims).shape());
}

Variable reshape(const Variable& x, const Shape& shape) {
  return make_result(
      "reshape", x.value().reshape(shape), {x},
      [before = x.shape()](const Tensor& dy, Gradients& gradients) { gradients.add(0, dy.reshape(before)); });
}

Variable permute(const Variable& x, std::initializer_list<int> axes) {
  VITRAL_CHECK(static_cast<int>(axes.size()) == x.rank(), "permute: {} axes given for {}", axes.size(),
               x.shape());
  kernel::Axes forward{}, inverse{};
  unsigned seen = 0;
  int i = 0;
  for (int given : axes) {
    const int axis = checked_axis("permute", x, given);
    seen |= 1U << axis;
    forward[static_cast<std::size_t>(i)] = axis;
    inverse[static_cast<std::size_t>(axis)] = i++;
  }
  VITRAL_CHECK(seen == (1U << x.rank()) - 1, "permute: each axis of {} must be named once", x.shape());
  std::vector<std::int64_t> order(forward.begin(), forward.begin() + x.rank());
  return make_result(
      {"permute", {{"axes", std::move(order)}}}, permuted(x.value(), forward), {x},
      [inverse](const Tensor& dy, Gradients& gradients) { gradients.add(0, permuted(dy, inverse)); });
}

Variable slice(const Variable& x, int axis, std::int64_t begin, std::int64_t end) {
  const int a = checked_axis("slice", x, axis);
  VITRAL_CHECK(0 <= begin && begin < end && end <= x.dim(a),
               "slice: [{}, {}) is out of range for axis {} of {}", begin, end, axis, x.shape());
  const AxisSlice s{axis_view(x.shape(), a), begin, end - begin};
  Tensor y(x.shape().with(a, s.size), x.dtype(), x.device());
  kernel::slice(y, x.value(), s);
  return make_result({"slice", {{"axis", a}, {"begin", begin}, {"end", end}}}, std::move(y), {x},
                     [s, shape = x.shape()](const Tensor& dy, Gradients& gradients) {
                       Tensor dx = Tensor::zeros(shape, dy.dtype(), dy.device());
                       kernel::write_slice(dx, dy, s);
                       gradients.add(0, std::move(dx));
                     });
}

Variable concat(const std::vector<Variable>& parts, int axis) {
  VITRAL_CHECK(!parts.empty(), "concat: nothing to join");
  const int a = checked_axis("concat", parts[0], axis);
  std::int64_t total = 0;
  for (const auto& p : parts) {
    VITRAL_CHECK(p.rank() == parts[0].rank() && p.shape().with(a, 0) == parts[0].shape().with(a, 0),
                 "concat: {} and {} must be equal but for axis {}", parts[0].shape(), p.shape(), axis);
    VITRAL_CHECK(p.dtype() == parts[0].dtype(), "concat: {} and {} differ in dtype, cast one of them",
                 parts[0].dtype(), p.dtype());
    total += p.dim(a);
  }
  Tensor y(parts[0].shape().with(a, total), parts[0].dtype(), parts[0].device());
  const AxisView v = axis_view(y.shape(), a);
  std::vector<Shape> shapes;
  std::int64_t begin = 0;
  for (const auto& p : parts) {
    kernel::write_slice(y, p.value(), {v, begin, p.dim(a)});
    begin += p.dim(a);
    shapes.push_back(p.shape());
  }
  return make_result({"concat", {{"axis", a}}}, std::move(y), parts,
                     [v, a, shapes](const Tensor& dy, Gradients& gradients) {
                       std::int64_t at = 0;
                       for (std::size_t i = 0; i < shapes.size(); ++i) {
                         const std::int64_t size = shapes[i][a];
                         if (gradients.needs(i)) {
                           Tensor dx(shapes[i], dy.dtype(), dy.device());
                           kernel::slice(dx, dy, {v, at, size});
                           gradients.add(i, std::move(dx));
                         }
                         at += size;
                       }
                     });
}

Variable append_tokens(const Variable& x, const Variable& tokens) {
  check_weights("append_tokens", x, {&tokens});
  VITRAL_CHECK(x.rank() == 3 && tokens.rank() == 2 && tokens.dim(1) == x.dim(2),
               "append_tokens: tokens {} must be [R, W] for x {} [B, N, W]", tokens.shape(), x.shape());
  if (Trace::active()) return composed::append_tokens(x, tokens);
  const std::int64_t b = x.dim(0), n = x.dim(1), r = tokens.dim(0), w = x.dim(2);
  Tensor y({b, n + r, w}, x.dtype(), x.device()), of_all({b, r, w}, x.dtype(), x.device());
  const AxisView v = axis_view(y.shape(), 1);
  kernel::binary(of_all, Tensor::zeros({b, 1, 1}, x.dtype(), x.device()), tokens.value().cast(x.dtype()),
                 BinaryOp::add);
  kernel::write_slice(y, x.value(), {v, 0, n});
  kernel::write_slice(y, of_all, {v, n, r});
  return make_result("append_tokens", std::move(y), {x, tokens},
                     [=, dtype = tokens.dtype()](const Tensor& dy, Gradients& gradients) {
                       if (gradients.needs(0)) {
                         Tensor dx({b, n, w}, dy.dtype(), dy.device());
                         kernel::slice(dx, dy, {v, 0, n});
                         gradients.add(0, std::move(dx));
                       }
                       if (!gradients.needs(1)) return;
                       Tensor of_each({b, r, w}, dy.dtype(), dy.device());
                       kernel::slice(of_each, dy, {v, n, r});
                       of_each = of_each.cast(dtype);
                       Tensor dtokens({1, r, w}, dtype, dy.device());
                       kernel::sum_axis(dtokens, of_each, axis_view(of_each.shape(), 0), 1);
                       gradients.add(1, dtokens.reshape({r, w}));
                     });
}

Variable cast(const Variable& x, DType dtype) {
  check_input("cast", x);
  if (x.dtype() == dtype) return x;
  Variable y = make_result(
      "cast", x.value().cast(dtype), {x},
      [given = x.dtype()](const Tensor& dy, Gradients& gradients) { gradients.add(0, dy.cast(given)); });
  check_input("cast", y);
  return y;
}

}  // namespace vitral
