// The regions of a picture that a teacher is asked about on their own: the cells of a grid.
#pragma once
#include "data/images/resize.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// float32 [G*G,4], row-major: x0, y0, x1, y1 in 0..1 of the picture, origin top left.
Tensor grid_boxes(int grid);

/// The pixels of these cells, to the nearest pixel, each stretched to a square: uint8 [H,W,3] ->
/// [G*G,size,size,3]. UsageError: fewer pixels than cells.
Tensor grid_cells(const Tensor& image, int grid, int size, Filter filter);

}  // namespace vitral::data
