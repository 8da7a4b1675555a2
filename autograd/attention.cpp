#include "tensor/ops/attention.h"

#include <cmath>
#include <limits>

#include "autograd/ops.h"

namespace vitral {
namespace {

void check_qkv(const char* operation, const Variable& qkv, std::int64_t heads) {
  check_input(operation, qkv);
  VITRAL_CHECK(qkv.rank() == 3 && heads > 0 && qkv.dim(2) % (3 * heads) == 0,
               "{}: qkv {} must be [B, N, 3 H D] with H = {} heads", operation, qkv.shape(), heads);
}

Tensor output_like(const char* operation, const Variable& qkv, std::int64_t heads) {
  check_qkv(operation, qkv, heads);
  return Tensor(qkv.shape().with(2, qkv.dim(2) / 3), qkv.dtype(), qkv.device());
}

// q, k or v of all heads: [B,H,N,D].
Variable part_of(const Variable& qkv, std::int64_t heads, int part) {
  const std::int64_t width = qkv.dim(2) / 3;
  return permute(reshape(slice(qkv, 2, part * width, (part + 1) * width),
                         {qkv.dim(0), qkv.dim(1), heads, width / heads}),
                 {0, 2, 1, 3});
}

// q k^T / sqrt(D)  [B,H,N,N]
Variable scores_of(const char* operation, const Variable& qkv, std::int64_t heads) {
  check_qkv(operation, qkv, heads);
  const auto size = static_cast<double>(qkv.dim(2) / 3 / heads);
  return affine(matmul(part_of(qkv, heads, 0), part_of(qkv, heads, 1), true), 1 / std::sqrt(size));
}

}  // namespace

Variable attention_weights(const Variable& qkv, std::int64_t heads) {
  return softmax(scores_of("attention_weights", qkv, heads));
}

Variable causal_attention(const Variable& qkv, std::int64_t heads) {
  const Variable scores = scores_of("causal_attention", qkv, heads);
  const std::int64_t n = qkv.dim(1);
  Tensor later = Tensor::zeros({n, n}, DType::float64);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i + 1; j < n; ++j)
      later.data<double>()[i * n + j] = -std::numeric_limits<double>::infinity();
  const Variable mask(later.cast(qkv.dtype()).to(qkv.device()));
  const Variable out = matmul(softmax(add(scores, mask)), part_of(qkv, heads, 2));
  return reshape(permute(out, {0, 2, 1, 3}), {qkv.dim(0), n, qkv.dim(2) / 3});
}

Variable attention(const Variable& qkv, std::int64_t heads) {
  Tensor out = output_like("attention", qkv, heads), lse;
  if (!qkv.device().is_cpu())
    lse = Tensor({qkv.dim(0), heads, qkv.dim(1)},
                 qkv.dtype() == DType::float64 ? DType::float64 : DType::float32, qkv.device());
  kernel::attention(out, lse, qkv.value(), heads);
  // The backward of a GPU wants both; the CPU's neither, and it does not keep them.
  const Tensor kept = lse.defined() ? out : Tensor();
  return make_result("attention", std::move(out), {qkv},
                     [k = Saved(qkv), kept, lse, heads](const Tensor& dy, Gradients& gradients) {
                       const Tensor v = k.get();
                       Tensor dx(v.shape(), v.dtype(), v.device());
                       kernel::attention_backward(dx, dy, v, kept, lse, heads);
                       gradients.add(0, std::move(dx));
                     });
}

Variable neighbourhood_attention(const Variable& qkv, std::int64_t heads, TokenGrid grid,
                                 std::int64_t window) {
  Tensor out = output_like("neighbourhood_attention", qkv, heads);
  VITRAL_CHECK(grid.size() == qkv.dim(1),
               "neighbourhood_attention: a grid of {} x {} does not have the {} tokens of qkv {}", grid.rows,
               grid.columns, qkv.dim(1), qkv.shape());
  VITRAL_CHECK(window > 0 && window % 2 == 1, "neighbourhood_attention: window {} must be odd and positive",
               window);
  kernel::neighbourhood_attention(out, qkv.value(), heads, grid, window);
  return make_result("neighbourhood_attention", std::move(out), {qkv},
                     [k = Saved(qkv), heads, grid, window](const Tensor& dy, Gradients& gradients) {
                       const Tensor v = k.get();
                       Tensor dx(v.shape(), v.dtype(), v.device());
                       kernel::neighbourhood_attention_backward(dx, dy, v, heads, grid, window);
                       gradients.add(0, std::move(dx));
                     });
}

}  // namespace vitral
