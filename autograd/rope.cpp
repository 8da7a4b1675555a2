#include "tensor/ops/rope.h"

#include "autograd/composed.h"
#include "autograd/trace.h"

namespace vitral {

Variable rope(const Variable& qkv, std::int64_t heads, const TokenGrid& grid) {
  check_input("rope", qkv);
  VITRAL_CHECK(qkv.rank() == 3 && heads > 0 && qkv.dim(2) % (3 * heads) == 0,
               "rope: qkv {} must be [B, N, 3 H D] with H = {} heads", qkv.shape(), heads);
  VITRAL_CHECK(grid.size() <= qkv.dim(1), "rope: a grid of {} x {} has more than the {} tokens of qkv {}",
               grid.rows, grid.columns, qkv.dim(1), qkv.shape());
  if (Trace::active()) return composed::rope(qkv, heads, grid);
  const auto turned = [heads, grid](const Tensor& x, bool back) {
    Tensor out(x.shape(), x.dtype(), x.device());
    kernel::rope(out, x, heads, grid, back);
    return out;
  };
  return make_result(
      "rope", turned(qkv.value(), false), {qkv},
      [turned](const Tensor& dy, Gradients& gradients) { gradients.add(0, turned(dy, true)); });
}

}  // namespace vitral
