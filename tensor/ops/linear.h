// The products of a linear layer with what belongs to them: the bias, and its gradient.
// On a GPU both are epilogues of the product (cuBLASLt).
#pragma once
#include "tensor/ops/gemm.h"
#include "tensor/ops/pointwise.h"

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
/// dweight = dy^T x;  dbias = sum_R dy; each where it is defined;  dy [R,O], x [R,I] of one dtype, dweight
/// [O,I] and dbias [O] of that dtype, or float32 beside bfloat16. Overwrites, or with `accumulate` adds:
/// gradients of several micro-batches are then summed in the product itself.
inline constinit Kernel<void(Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x,
                             bool accumulate)>
    linear_backward{"linear_backward", linear_backward_flops};

inline double linear_activation_flops(Tensor& y, Tensor&, const Tensor& x, const Tensor&, const Tensor&,
                                      const ActivationKernels&) {
  return 2.0 * static_cast<double>(y.numel()) * static_cast<double>(x.dim(-1));
}
/// y = x weight^T + bias, activation [R,O] = f(y): the first half of an MLP whose activation is kept. The
/// rest as in linear. Where both are one kernel (Epilogue::quick_gelu) f may be of what y was before it was
/// rounded. Implemented on GPUs.
inline constinit Kernel<void(Tensor& y, Tensor& activation, const Tensor& x, const Tensor& weight,
                             const Tensor& bias, const ActivationKernels& f)>
    linear_activation{"linear_activation", linear_activation_flops};

inline double activation_linear_flops(Tensor& y, Tensor&, const Tensor& h, const Tensor&, const Tensor&,
                                      const Tensor&, const ActivationKernels&) {
  return 2.0 * static_cast<double>(y.numel()) * static_cast<double>(h.dim(-1));
}
inline double activation_linear_backward_flops(Tensor&, Tensor& dweight, Tensor&, const Tensor& dy,
                                               const Tensor&, const Tensor&, const Tensor& weight,
                                               const ActivationKernels&, bool) {
  return 2.0 * static_cast<double>(dweight.numel() + weight.numel()) * static_cast<double>(dy.dim(0));
}

/// y = f(h) weight^T + bias: the second half of an MLP. h [R,I]; the rest as in linear; packed is
/// pack_weight's, or undefined. activation [R,I] = f(h), where it is defined.
inline constinit Kernel<void(Tensor& y, Tensor& activation, const Tensor& h, const Tensor& weight,
                             const Tensor& bias, const Tensor& packed, const ActivationKernels& f)>
    activation_linear{"activation_linear", activation_linear_flops};
/// dh = (dy weight) f'(h);  dweight = dy^T f(h);  dbias = sum_R dy; the last two where they are defined.
/// weight has the dtype of h; `accumulate` as in linear_backward, of dweight and dbias. activation: f(h) as
/// activation_linear has given it, or undefined: it is computed again, to the same bits.
inline constinit Kernel<void(Tensor& dh, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& h,
                             const Tensor& activation, const Tensor& weight, const ActivationKernels& f,
                             bool accumulate)>
    activation_linear_backward{"activation_linear_backward", activation_linear_backward_flops};

/// linear with a weight that was packed before: for weights that stay, as in inference. `packed` is made
/// here, bytes in an order of the library's; it stays undefined where packing is no use. Implemented on the
/// CPU, in a build with oneDNN.
inline constinit Kernel<void(Tensor& packed, const Tensor& weight)> pack_weight{"pack_weight"};
inline constinit Kernel<void(Tensor& y, const Tensor& x, const Tensor& packed, const Tensor& bias)>
    linear_packed{"linear_packed", linear_flops};

}  // namespace vitral::kernel
