#include "tensor/ops/patch_pooling.h"

#include "autograd/composed.h"
#include "autograd/trace.h"

namespace vitral {

Variable patch_pooling(const Variable& x, const Variable& scale, std::int64_t heads, double temperature) {
  composed::check_patch_pooling(x, scale, heads, temperature);
  if (Trace::active()) return composed::patch_pooling(x, scale, heads, temperature).embedding;
  const std::int64_t b = x.dim(0), n = x.dim(1), w = x.dim(2) - heads;
  const DType dtype = x.dtype() == DType::float64 ? DType::float64 : DType::float32;
  Tensor embedding({b, w}, dtype, x.device()), probs({b, n}, dtype, x.device()), patches;
  const Tensor vs = scale.defined() ? scale.value().cast(dtype) : Tensor();
  kernel::patch_pooling(embedding, probs, patches, x.value(), vs, heads, temperature);
  std::vector<Variable> inputs{x};
  if (scale.defined()) inputs.push_back(scale);
  return make_result("patch_pooling", embedding, std::move(inputs),
                     [kx = Saved(x), vs, given = scale.dtype(), probs, heads, temperature](
                         const Tensor& dy, Gradients& gradients) {
                       const Tensor vx = kx.get();
                       Tensor dx(vx.shape(), vx.dtype(), vx.device()), dscale;
                       if (vs.defined()) dscale = Tensor({1}, vs.dtype(), vs.device());
                       kernel::patch_pooling_backward(dx, dscale, dy, vx, vs, probs, heads, temperature);
                       gradients.add(0, std::move(dx));
                       if (vs.defined()) gradients.add(1, dscale.cast(given));
                     });
}

}  // namespace vitral
