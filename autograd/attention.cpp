#include "tensor/attention.h"

#include "autograd/ops.h"

namespace vitral {
namespace {

Tensor output_like(const char* operation, const Variable& qkv, std::int64_t heads) {
  check_input(operation, qkv);
  VITRAL_CHECK(qkv.rank() == 3 && heads > 0 && qkv.dim(2) % (3 * heads) == 0,
               "{}: qkv {} must be [B, N, 3 H D] with H = {} heads", operation, qkv.shape(), heads);
  return Tensor(qkv.shape().with(2, qkv.dim(2) / 3), qkv.dtype(), qkv.device());
}

}  // namespace

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
