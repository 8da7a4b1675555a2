#include "tensor/ops/attention.h"

#include "autograd/composed.h"
#include "autograd/trace.h"

namespace vitral {
namespace {

void check_qkv(const char* operation, const Variable& qkv, std::int64_t heads) {
  check_input(operation, qkv);
  VITRAL_CHECK(qkv.rank() == 3 && heads > 0 && qkv.dim(2) % (3 * heads) == 0,
               "{}: qkv {} must be [B, N, 3 H D] with H = {} heads", operation, qkv.shape(), heads);
}

Tensor output_like(const Variable& qkv) {
  return Tensor(qkv.shape().with(2, qkv.dim(2) / 3), qkv.dtype(), qkv.device());
}

Variable attention_of(const char* operation, const Variable& qkv, std::int64_t heads, bool causal) {
  check_qkv(operation, qkv, heads);
  if (Trace::active())
    return causal ? composed::causal_attention(qkv, heads) : composed::attention(qkv, heads);
  Tensor out = output_like(qkv), lse;
  if (!qkv.device().is_cpu())
    lse = Tensor({qkv.dim(0), heads, qkv.dim(1)},
                 qkv.dtype() == DType::float64 ? DType::float64 : DType::float32, qkv.device());
  kernel::attention(out, lse, qkv.value(), heads, causal);
  // The backward of a GPU wants both; the CPU's neither, and it does not keep them.
  const Tensor kept = lse.defined() ? out : Tensor();
  return make_result(operation, std::move(out), {qkv},
                     [k = Saved(qkv), kept, lse, heads, causal](const Tensor& dy, Gradients& gradients) {
                       const Tensor v = k.get();
                       Tensor dx(v.shape(), v.dtype(), v.device());
                       kernel::attention_backward(dx, dy, v, kept, lse, heads, causal);
                       gradients.add(0, std::move(dx));
                     });
}

}  // namespace

Variable attention(const Variable& qkv, std::int64_t heads) {
  return attention_of("attention", qkv, heads, false);
}

Variable causal_attention(const Variable& qkv, std::int64_t heads) {
  return attention_of("causal_attention", qkv, heads, true);
}

Variable attention_weights(const Variable& qkv, std::int64_t heads) {
  check_qkv("attention_weights", qkv, heads);
  return composed::attention_weights(qkv, heads);
}

Variable neighbourhood_attention(const Variable& qkv, std::int64_t heads, const Neighbourhood& n) {
  check_qkv("neighbourhood_attention", qkv, heads);
  VITRAL_CHECK(n.registers >= 0 && n.tokens() == qkv.dim(1),
               "neighbourhood_attention: a grid of {} x {} with {} registers does not have the {} tokens of "
               "qkv {}",
               n.grid.rows, n.grid.columns, n.registers, qkv.dim(1), qkv.shape());
  VITRAL_CHECK(n.window > 0 && n.window % 2 == 1 && n.dilation > 0,
               "neighbourhood_attention: window {} must be odd and positive, dilation {} positive", n.window,
               n.dilation);
  if (Trace::active()) return composed::neighbourhood_attention(qkv, heads, n);
  Tensor out = output_like(qkv);
  kernel::neighbourhood_attention(out, qkv.value(), heads, n);
  return make_result("neighbourhood_attention", std::move(out), {qkv},
                     [k = Saved(qkv), heads, n](const Tensor& dy, Gradients& gradients) {
                       const Tensor v = k.get();
                       Tensor dx(v.shape(), v.dtype(), v.device());
                       kernel::neighbourhood_attention_backward(dx, dy, v, heads, n);
                       gradients.add(0, std::move(dx));
                     });
}

}  // namespace vitral
