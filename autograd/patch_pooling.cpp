#include "tensor/ops/patch_pooling.h"

#include "autograd/ops.h"

namespace vitral {
namespace {

void check_pooling(const char* operation, const Variable& x, const Variable& scale, std::int64_t heads,
                   double temperature) {
  check_weights(operation, x, {&scale});
  VITRAL_CHECK(x.rank() == 3 && heads > 0 && x.dim(2) % heads == 0 && x.dim(2) / heads >= 2,
               "{}: x {} must be [B, N, H (D + 1)] with H = {} heads", operation, x.shape(), heads);
  VITRAL_CHECK(!scale.defined() || scale.shape() == Shape{1}, "{}: scale {} must be one number", operation,
               scale.shape());
  // Below, 1 / temperature is not a float32.
  VITRAL_CHECK(temperature >= 1e-30, "{}: temperature {} must be positive and at least 1e-30", operation,
               temperature);
}

}  // namespace

PooledPatches pool_patches(const Variable& x, const Variable& scale, std::int64_t heads, double temperature) {
  check_pooling("pool_patches", x, scale, heads, temperature);
  const std::int64_t b = x.dim(0), n = x.dim(1), d = x.dim(2) / heads - 1, w = heads * d;
  const Variable split = reshape(x, {b, n, heads, d + 1});
  const Variable logits = mean(reshape(slice(split, 3, d, d + 1), {b, n, heads}), 2);  // [B,N]
  PooledPatches out;
  out.patches = reshape(slice(split, 3, 0, d), {b, n, w});
  if (scale.defined()) {
    const Variable ten(Tensor::full({1}, 10, scale.dtype(), scale.device()));
    out.patches = mul(l2_normalize(out.patches), minimum(scale, ten));
  }
  out.probs = softmax(affine(logits, 1 / temperature));
  out.embedding = reshape(matmul(reshape(out.probs, {b, 1, n}), out.patches), {b, w});
  return out;
}

Variable patch_pooling(const Variable& x, const Variable& scale, std::int64_t heads, double temperature) {
  check_pooling("patch_pooling", x, scale, heads, temperature);
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
