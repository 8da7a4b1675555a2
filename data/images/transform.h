// From images of any size to the size that a model reads.
#pragma once
#include "tensor/tensor.h"

namespace vitral::data {

/// uint8 [H,W,3] to [size,size,3]: bilinear with antialias, sides scaled apart. An image that has the size
/// already is returned as it is (shared memory).
Tensor validation_transform(const Tensor& image, int size);

/// Each of uint8 [B,H,W,3] resized likewise, on all cores: [B,size,size,3].
Tensor resize_batch(const Tensor& images, int size);

}  // namespace vitral::data
