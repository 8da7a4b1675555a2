// Which patches of the student make a region: the term `regions` of the loss
// (models/student/distillation_loss.h).
#pragma once
#include "tensor/tensor.h"

namespace vitral::models {

/// float32 [R,N], N = grid * grid, row-major: row r has 1 / n at the n patches whose middle (x, y) lies in
/// box r, x0 <= x < x1 and y0 <= y < y1, else 0; its product with the patch embeddings is their mean over
/// each region. boxes: float32 [R,4], x0, y0, x1, y1 in 0..1. UsageError: a box without a patch.
Tensor region_means(const Tensor& boxes, int grid);

}  // namespace vitral::models
