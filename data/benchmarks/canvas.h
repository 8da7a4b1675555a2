// Inside data/benchmarks only: what their backgrounds are painted with. A canvas is float32 [H,W,3], RGB in
// 0..1.
#pragma once
#include <array>

#include "base/random.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// Fills the canvas: from one colour to the other along `angle` (radians, from the x axis downwards), which
/// the corners just reach.
void draw_gradient(const Tensor& canvas, const std::array<double, 3>& from, const std::array<double, 3>& to,
                   double angle);

/// uint8 [H,W,3]: the canvas plus noise of this standard deviation, drawn for each pixel and channel.
Tensor to_pixels(Random& random, const Tensor& canvas, double noise);

}  // namespace vitral::data
