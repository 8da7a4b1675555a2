// The distillation loss and its gradient in one pass; autograd/loss.cpp has the composition.
//   loss = norm * mean over all elements of | y/|y| - t/|t| |
#pragma once
#include "tensor/kernel.h"

namespace vitral::kernel {

/// loss [1]; dy = d loss / d y [B,D], not written where undefined; y, t [B,D]. float32 or float64. With u =
/// y/|y| and s = sign(u - t/|t|) norm / (B D), sign(0) = 0:  dy = (s - u (u . s)) / |y|.
inline constinit Kernel<void(Tensor& loss, Tensor& dy, const Tensor& y, const Tensor& t, double norm)>
    distillation_loss{"distillation_loss"};

}  // namespace vitral::kernel
