#include "tensor/ops/patchify.h"

namespace vitral {

PatchGrid patch_grid(const Tensor& images, bool cropped, std::int64_t tokens, std::int64_t patch) {
  std::int64_t columns = 0;
  while ((columns + 1) * (columns + 1) <= tokens) ++columns;
  VITRAL_CHECK(columns * columns == tokens, "image_patches: {} patches are no square", tokens);
  const std::int64_t side = columns * patch, height = images.dim(1), width = images.dim(2);
  VITRAL_CHECK(cropped || (height == side && width == side),
               "image_patches: images {} must be [B, {}, {}, 3] where nothing is cropped", images.shape(),
               side, side);
  VITRAL_CHECK(height >= side && width >= side, "image_patches: images {} do not hold a square of {} pixels",
               images.shape(), side);
  return {columns, side};
}

}  // namespace vitral
