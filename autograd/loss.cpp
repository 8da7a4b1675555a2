#include <cmath>

#include "autograd/composed.h"
#include "autograd/trace.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/distillation_loss.h"

namespace vitral {

Variable mse_loss(const Variable& a, const Variable& b) {
  check_inputs("mse_loss", {&a, &b});
  VITRAL_CHECK(a.shape() == b.shape(), "mse_loss: {} and {} must be equal", a.shape(), b.shape());
  return mean(square(sub(a, b)));
}

Variable distillation_loss(const Variable& y, const Variable& t, double norm) {
  check_inputs("distillation_loss", {&y, &t});
  VITRAL_CHECK(y.shape() == t.shape() && y.rank() == 2,
               "distillation_loss: embeddings {} and targets {} must both be [B, D]", y.shape(), t.shape());
  // The kernel gives no gradient of t, and knows no bfloat16.
  if (t.requires_grad() || y.dtype() == DType::bfloat16 || Trace::active())
    return composed::distillation_loss(y, t, norm);
  Tensor loss({1}, y.dtype(), y.device()), dy;
  if (grad_enabled() && y.requires_grad()) dy = Tensor(y.shape(), y.dtype(), y.device());
  kernel::distillation_loss(loss, dy, y.value(), t.value(), norm);
  return make_result("distillation_loss", std::move(loss), {y},
                     [dy](const Tensor& dloss, Gradients& gradients) {
                       Tensor g(dy.shape(), dy.dtype(), dy.device());
                       kernel::binary(g, dy, dloss, BinaryOp::mul);
                       gradients.add(0, std::move(g));
                     });
}

namespace {

// Which pairs of a batch count.
struct Present {
  Variable pairs, column, row;  // 1 or 0: [B], [B,1], [1,B]

  // What is absent may have no direction: ones in its place.
  Variable direction(const Variable& x) const {
    return l2_normalize(pairs.defined() ? add(mul(x, column), affine(column, -1, 1)) : x);
  }
  // logits [B,B] of which a softmax over rows sees those that are there.
  Variable seen(const Variable& logits) const {
    return pairs.defined() ? add(logits, affine(row, 1e30, -1e30)) : logits;
  }
  Variable mean(const Variable& each) const {
    if (!pairs.defined()) return vitral::mean(each);
    const Variable minus_one(Tensor::full({1}, -1, each.dtype(), each.device()));
    return div(sum(mul(each, pairs)), neg(minimum(neg(sum(pairs)), minus_one)));
  }
};

}  // namespace

Variable info_nce(const Variable& images, const Variable& texts, const Variable& log_scale,
                  const Tensor& present) {
  check_inputs("info_nce", {&images, &texts});
  check_weights("info_nce", images, {&log_scale});
  const std::int64_t b = images.rank() > 0 ? images.dim(0) : 0;
  VITRAL_CHECK(images.rank() == 2 && images.shape() == texts.shape() && b > 0,
               "info_nce: images {} and texts {} must both be [B, E]", images.shape(), texts.shape());
  VITRAL_CHECK(log_scale.shape() == Shape{1}, "info_nce: log_scale {} must be one number", log_scale.shape());
  VITRAL_CHECK(!present.defined() || (present.shape() == Shape{b} && present.dtype() == DType::float32),
               "info_nce: present {} {} must be float32 [{}]", present.dtype(), present.shape(), b);
  const DType dtype = images.dtype() == DType::bfloat16 ? DType::float32 : images.dtype();
  Present pairs;
  if (present.defined()) {
    pairs.pairs = Variable(present.cast(dtype));
    pairs.column = reshape(pairs.pairs, {b, 1});
    pairs.row = reshape(pairs.pairs, {1, b});
  }
  const Variable most(Tensor::full({1}, std::log(100.0), dtype, images.device()));
  const Variable scale = exp(minimum(cast(log_scale, dtype), most));
  const Variable x = mul(pairs.direction(cast(images, dtype)), scale),
                 y = pairs.direction(cast(texts, dtype)), logits = matmul(x, y, true);
  const Variable all = add(logsumexp(pairs.seen(logits)), logsumexp(pairs.seen(permute(logits, {1, 0}))));
  return pairs.mean(sub(affine(all, 0.5), sum(mul(x, y), 1)));
}

}  // namespace vitral
