// A product and QuickGELU, y sigmoid(1.702 y), in one kernel of bfloat16: cuBLASLt has no such epilogue, and
// cuDNN compiles one (SWISH with beta 1.702). Whether that is faster than the product and a pass over memory
// is measured (tensor/ops/products.h); the last bits differ, as between two steps nothing is rounded.
#pragma once
#include "tensor/tensor.h"

namespace vitral::cuda {

/// All of them queue their work and answer true, or answer false where there is no such kernel for these
/// sizes and addresses; then nothing was queued.
struct FusedProducts {
  /// y = x weight^T + bias and activation = quick_gelu(y);  x [R,I], weight [O,I], bias [O], both results
  /// [R,O].
  bool (*forward)(Tensor& y, Tensor& activation, const Tensor& x, const Tensor& weight, const Tensor& bias);
  /// dh = (dy weight) quick_gelu'(h);  dy [R,O], weight [O,I], h and dh [R,I].
  bool (*backward)(Tensor& dh, const Tensor& dy, const Tensor& weight, const Tensor& h);
  /// Of the library on this device, 91900 say; 0 where it is missing.
  std::int64_t (*version)(Device device);
};
/// cuDNN's, in a build with it.
inline constinit const FusedProducts* fused_products = nullptr;

}  // namespace vitral::cuda
