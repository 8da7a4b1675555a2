#include "tensor/ops/patchify.h"

#include "autograd/ops.h"

namespace vitral {

Variable patchify(const Variable& images, std::int64_t patch) {
  VITRAL_CHECK(images.rank() == 4 && patch > 0 && images.dim(2) % patch == 0 && images.dim(3) % patch == 0,
               "patchify: images {} must be [B, C, H, W] with H and W multiples of the patch size {}",
               images.shape(), patch);
  const std::int64_t tokens = images.dim(2) / patch * (images.dim(3) / patch);
  Tensor y({images.dim(0), tokens, images.dim(1) * patch * patch}, images.dtype(), images.device());
  kernel::patchify(y, images.value(), patch);
  return make_result({"patchify", {{"patch", patch}}}, std::move(y), {images},
                     [shape = images.shape(), patch](const Tensor& dy, Gradients& gradients) {
                       Tensor dx(shape, dy.dtype(), dy.device());
                       kernel::unpatchify(dx, dy, patch);
                       gradients.add(0, std::move(dx));
                     });
}

}  // namespace vitral
