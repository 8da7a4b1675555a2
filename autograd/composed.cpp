#include "autograd/composed.h"

#include <cmath>
#include <limits>

#include "tensor/ops/rope.h"

namespace vitral::composed {
namespace {

// x [...,W] as rows [R,W].
Variable rows_of(const Variable& x) {
  return reshape(x, {x.dim(-1) > 0 ? x.value().numel() / x.dim(-1) : 0, x.dim(-1)});
}
// One number a row, [R], as [R,1]: to go with the rows.
Variable column(const Variable& x) { return reshape(x, {-1, 1}); }

// q, k or v of all heads: [B,H,N,D].
Variable part_of(const Variable& qkv, std::int64_t heads, int part) {
  const std::int64_t width = qkv.dim(2) / 3;
  return permute(reshape(slice(qkv, 2, part * width, (part + 1) * width),
                         {qkv.dim(0), qkv.dim(1), heads, width / heads}),
                 {0, 2, 1, 3});
}

}  // namespace

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  const Variable y = matmul(x, weight, true);
  return bias.defined() ? add(y, bias) : y;
}

Variable activation_linear(Variable (*f)(const Variable&), const Variable& h, const Variable& weight,
                           const Variable& bias) {
  return linear(f(h), weight, bias);
}

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, double eps) {
  const Variable rows = rows_of(x), centred = sub(rows, column(mean(rows, 1)));
  const Variable std = sqrt(affine(column(mean(square(centred), 1)), 1, eps));
  return reshape(add(mul(div(centred, std), weight), bias), x.shape());
}

SumAndNorm add_layer_norm(const Variable& x, const Variable& delta, const Variable& weight,
                          const Variable& bias, double eps) {
  const Variable sum = add(x, delta);
  return {sum, composed::layer_norm(sum, weight, bias, eps)};
}

Variable rms_norm(const Variable& x, const Variable& weight, double eps) {
  const Variable rows = rows_of(x), root = sqrt(affine(column(mean(square(rows), 1)), 1, eps));
  return reshape(mul(div(rows, root), weight), x.shape());
}

SumAndNorm add_rms_norm(const Variable& x, const Variable& delta, const Variable& weight, double eps) {
  const Variable sum = add(x, delta);
  return {sum, composed::rms_norm(sum, weight, eps)};
}

Variable l2_normalize(const Variable& x) {
  const Variable rows = rows_of(x);
  return reshape(div(rows, column(sqrt(vitral::sum(square(rows), 1)))), x.shape());
}

Variable softmax(const Variable& x) {
  const Variable e = exp(rows_of(x));
  return reshape(div(e, column(vitral::sum(e, 1))), x.shape());
}

Variable attention_mask(const Variable& qkv, const std::function<bool(std::int64_t, std::int64_t)>& sees) {
  const std::int64_t n = qkv.dim(1);
  Tensor mask = Tensor::zeros({n, n}, DType::float64);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j)
      if (!sees(i, j)) mask.data<double>()[i * n + j] = -std::numeric_limits<double>::infinity();
  return Variable(mask.cast(qkv.dtype()).to(qkv.device()));
}

Variable attention_weights(const Variable& qkv, std::int64_t heads, const Variable& mask) {
  const std::int64_t size = qkv.dim(2) / 3 / heads;
  const Variable scores = affine(matmul(part_of(qkv, heads, 0), part_of(qkv, heads, 1), true),
                                 1 / std::sqrt(static_cast<double>(size)));
  return vitral::softmax(mask.defined() ? add(scores, mask) : scores);
}

Variable attention(const Variable& qkv, std::int64_t heads, const Variable& mask) {
  const Variable out = matmul(attention_weights(qkv, heads, mask), part_of(qkv, heads, 2));
  return reshape(permute(out, {0, 2, 1, 3}), {qkv.dim(0), qkv.dim(1), qkv.dim(2) / 3});
}

Variable causal_attention(const Variable& qkv, std::int64_t heads) {
  const auto not_later = [](std::int64_t i, std::int64_t j) { return j <= i; };
  return composed::attention(qkv, heads, attention_mask(qkv, not_later));
}

Variable neighbourhood_attention(const Variable& qkv, std::int64_t heads, const Neighbourhood& n) {
  const auto sees = [&](std::int64_t i, std::int64_t j) { return n.sees(i, j); };
  return composed::attention(qkv, heads, attention_mask(qkv, sees));
}

// With a and b the halves of each pair: (a cos - b sin, a sin + b cos).
Variable rope(const Variable& qkv, std::int64_t heads, const TokenGrid& grid) {
  const std::int64_t b = qkv.dim(0), n = qkv.dim(1), width = qkv.dim(2) / 3, size = width / heads,
                     pairs = 2 * rope_frequencies(size);
  if (pairs == 0) return qkv;
  Tensor cosines = Tensor::full({n, 1, pairs, 1}, 1, DType::float64),
         sines = Tensor::zeros({n, 1, pairs, 1}, DType::float64);
  for (std::int64_t token = 0; token < grid.size(); ++token)
    for (std::int64_t t = 0; t < pairs; ++t) {
      const double angle = rope_angle(grid, token, t, pairs / 2);
      cosines.data<double>()[token * pairs + t] = std::cos(angle);
      sines.data<double>()[token * pairs + t] = std::sin(angle);
    }
  const Variable c(cosines.cast(qkv.dtype()).to(qkv.device())), s(sines.cast(qkv.dtype()).to(qkv.device()));
  const Variable qk = reshape(slice(qkv, 2, 0, 2 * width), {b, n, 2 * heads, size});
  const Variable turned = reshape(slice(qk, 3, 0, 2 * pairs), {b, n, 2 * heads, pairs, 2});
  const Variable first = slice(turned, 4, 0, 1), second = slice(turned, 4, 1, 2);
  const Variable both = concat({sub(mul(first, c), mul(second, s)), add(mul(first, s), mul(second, c))}, 4);
  std::vector<Variable> parts{reshape(both, {b, n, 2 * heads, 2 * pairs})};
  if (2 * pairs < size) parts.push_back(slice(qk, 3, 2 * pairs, size));
  return concat({reshape(concat(parts, 3), {b, n, 2 * width}), slice(qkv, 2, 2 * width, 3 * width)}, 2);
}

// For every image by broadcasting to a part of it, times 0: a trace then holds no number of images.
Variable append_tokens(const Variable& x, const Variable& tokens) {
  return concat({x, add(affine(slice(x, 1, 0, 1), 0), tokens)}, 1);
}

void check_patch_pooling(const Variable& x, const Variable& scale, std::int64_t heads, double temperature) {
  check_weights("patch_pooling", x, {&scale});
  VITRAL_CHECK(x.rank() == 3 && heads > 0 && x.dim(2) % heads == 0 && x.dim(2) / heads >= 2,
               "patch_pooling: x {} must be [B, N, H (D + 1)] with H = {} heads", x.shape(), heads);
  VITRAL_CHECK(!scale.defined() || scale.shape() == Shape{1}, "patch_pooling: scale {} must be one number",
               scale.shape());
  // Below, 1 / temperature is not a float32.
  VITRAL_CHECK(temperature >= 1e-30, "patch_pooling: temperature {} must be positive and at least 1e-30",
               temperature);
}

Variable same_norm(const Variable& e, const Variable& scale) {
  if (!scale.defined()) return e;
  const Variable ten(Tensor::full({1}, 10, e.dtype(), e.device()));
  return mul(vitral::l2_normalize(e), minimum(cast(scale, e.dtype()), ten));
}

Variable convex_sum(const Variable& probs, const Variable& e) {
  return reshape(matmul(probs, e), {e.dim(0), e.dim(2)});
}

PooledPatches patch_pooling(const Variable& given, const Variable& scale, std::int64_t heads,
                            double temperature) {
  check_patch_pooling(given, scale, heads, temperature);
  const Variable x = given.dtype() == DType::bfloat16 ? cast(given, DType::float32) : given;
  const std::int64_t b = x.dim(0), n = x.dim(1), d = x.dim(2) / heads - 1, w = heads * d;
  const Variable split = reshape(x, {b, n, heads, d + 1});
  const Variable logits = mean(reshape(slice(split, 3, d, d + 1), {b, n, heads}), 2);  // [B,N]
  PooledPatches out;
  out.patches = same_norm(reshape(slice(split, 3, 0, d), {b, n, w}), scale);
  out.probs = vitral::softmax(affine(logits, 1 / temperature));
  out.embedding = convex_sum(reshape(out.probs, {b, 1, n}), out.patches);
  return out;
}

Variable distillation_loss(const Variable& y, const Variable& t, double norm) {
  return affine(mean(abs(sub(vitral::l2_normalize(y), vitral::l2_normalize(t)))), norm);
}

}  // namespace vitral::composed
