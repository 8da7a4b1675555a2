// Images at the size of a cell of a picture.
#pragma once
#include "infer/show/canvas.h"
#include "tensor/tensor.h"

namespace vitral::infer {

/// Where an image of this size goes inside the square cell at (x, y): as large as fits, in the middle.
Rect fit(const Tensor& image, std::int64_t x, std::int64_t y, std::int64_t cell);

/// The pixel (x, y) of the image (uint8 [H,W,3]) at the size of the rectangle. Enlarged: pixels stay squares.
/// Reduced: means over their area.
Colour image_colour(const Tensor& image, const Rect& at, std::int64_t x, std::int64_t y);

void draw_image(Canvas& canvas, const Rect& at, const Tensor& image);

}  // namespace vitral::infer
