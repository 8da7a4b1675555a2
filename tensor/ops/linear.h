// The products of a linear layer with what belongs to them: the bias, and its gradient.
// On a GPU both are epilogues of the product (cuBLASLt).
#pragma once
#include "tensor/ops/gemm.h"

namespace vitral::kernel {

inline double linear_flops(Tensor& y, const Tensor& x, const Tensor&, const Tensor&) {
  return 2.0 * static_cast<double>(y.numel()) * static_cast<double>(x.dim(-1));
}
inline double linear_backward_flops(Tensor& dweight, Tensor&, const Tensor& dy, const Tensor&, bool) {
  return 2.0 * static_cast<double>(dweight.numel()) * static_cast<double>(dy.dim(0));
}

/// y = x weight^T + bias;  x [R,I], weight [O,I], bias [O] or undefined, y [R,O]. One dtype.
inline constinit Kernel<void(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias)> linear{
    "linear", linear_flops};
/// dweight = dy^T x;  dbias = sum_R dy, where it is defined;  dy [R,O], x [R,I] of one dtype, dweight [O,I]
/// and dbias [O] of that dtype, or float32 beside bfloat16. Overwrites, or with `accumulate` adds: gradients
/// of several micro-batches are then summed in the product itself.
inline constinit Kernel<void(Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x,
                             bool accumulate)>
    linear_backward{"linear_backward", linear_backward_flops};

inline double quick_gelu_linear_flops(Tensor& y, const Tensor& h, const Tensor&, const Tensor&,
                                      const Tensor&) {
  return 2.0 * static_cast<double>(y.numel()) * static_cast<double>(h.dim(-1));
}
inline double quick_gelu_linear_backward_flops(Tensor&, Tensor& dweight, Tensor&, const Tensor& dy,
                                               const Tensor&, const Tensor&, bool) {
  return 4.0 * static_cast<double>(dweight.numel()) * static_cast<double>(dy.dim(0));
}

/// y = quick_gelu(h) weight^T + bias, a thousand rows at a time, so that the activation stays in the cache
/// and is never stored. h [R,I]; the rest as in linear; packed is pack_weight's, or undefined. CPU only;
/// autograd/linear.cpp has the composition.
inline constinit Kernel<void(Tensor& y, const Tensor& h, const Tensor& weight, const Tensor& bias,
                             const Tensor& packed)>
    quick_gelu_linear{"quick_gelu_linear", quick_gelu_linear_flops};
/// dh = (dy weight) quick_gelu'(h);  dweight = dy^T quick_gelu(h);  dbias = sum_R dy, where it is defined.
/// weight has the dtype of h; `accumulate` as in linear_backward, of dweight and dbias.
inline constinit Kernel<void(Tensor& dh, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& h,
                             const Tensor& weight, bool accumulate)>
    quick_gelu_linear_backward{"quick_gelu_linear_backward", quick_gelu_linear_backward_flops};

/// linear with a weight that was packed before: for weights that stay, as in inference. `packed` is made
/// here, bytes in an order of the library's; it stays undefined where packing is no use. Implemented on the
/// CPU, in a build with oneDNN.
inline constinit Kernel<void(Tensor& packed, const Tensor& weight)> pack_weight{"pack_weight"};
inline constinit Kernel<void(Tensor& y, const Tensor& x, const Tensor& packed, const Tensor& bias)>
    linear_packed{"linear_packed", linear_flops};

}  // namespace vitral::kernel
