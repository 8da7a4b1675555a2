#include "tensor/ops/patchify.h"

namespace vitral {

PatchGrid patch_grid(const Tensor& images, std::int64_t tokens, std::int64_t patch) {
  std::int64_t columns = 0;
  while ((columns + 1) * (columns + 1) <= tokens) ++columns;
  VITRAL_CHECK(columns * columns == tokens, "image_patches: {} patches are no square", tokens);
  const std::int64_t side = columns * patch;
  VITRAL_CHECK(images.dim(1) == side && images.dim(2) == side,
               "image_patches: images {} must be [B, {}, {}, 3]", images.shape(), side, side);
  return {columns, side};
}

}  // namespace vitral
