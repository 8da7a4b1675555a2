// The products of a linear layer whose weight is int8 (W8A8, as in arXiv 2211.10438: weights a row,
// activations a token). For inference: there are no gradients.
//
//   weight   w[o,i] = scale[o] q[o,i]                    q int8 in -127 .. 127, scale float32, positive
//   token    m[r] = max(max_i |x[r,i]|, 1e-30),  s[r] = m[r] / 127,  qx[r,i] = round(x[r,i] (127 / m[r]))
//   result   y[r,o] = s[r] scale[o] sum_i qx[r,i] q[o,i] + bias[o]
//
// Scales are float32, rounding is to the nearest, ties to even. Sums are int32 and exact, so I is at most
// int8_longest_row. A token with a value that is not finite gives
// NaN.
#pragma once
#include "tensor/ops/linear.h"

namespace vitral {

/// 2^31 / (127 * 128).
inline constexpr std::int64_t int8_longest_row = 132104;
inline constexpr float int8_smallest_token = 1e-30F;

/// Behind the name of an int8 weight: that of its scales, in modules and in files.
inline constexpr const char* int8_scale_suffix = ".scale";

struct QuantizedWeight {
  Tensor q;      // int8 [O,...], in -127 .. 127
  Tensor scale;  // float32 [O]: max |row| / 127; 1 for a row of zeros
};
/// The nearest of a weight [O,...], which is finite. On the CPU.
QuantizedWeight quantize(const Tensor& weight);
/// scale[o] q[o,...]: float32 in the shape of q int8 [O,...]; scale float32 [O]. On the CPU.
Tensor dequantize(const Tensor& q, const Tensor& scale);

}  // namespace vitral

namespace vitral::kernel {

inline double linear_int8_flops(Tensor& y, const Tensor& x, const Tensor&, const Tensor&, const Tensor&,
                                const Tensor&) {
  return 2.0 * static_cast<double>(y.numel()) * static_cast<double>(x.dim(-1));
}
inline double activation_linear_int8_flops(Tensor& y, const Tensor& h, const Tensor&, const Tensor&,
                                           const Tensor&, const Tensor&, const ActivationKernels&) {
  return 2.0 * static_cast<double>(y.numel()) * static_cast<double>(h.dim(-1));
}

/// y = x w^T + bias;  x [R,I] and y [R,O] of one dtype, float32 or bfloat16; weight int8 [O,I], packed
/// pack_int8's or undefined, scale float32 [O], bias float32 [O] or undefined.
inline constinit Kernel<void(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& packed,
                             const Tensor& scale, const Tensor& bias)>
    linear_int8{"linear_int8", linear_int8_flops};
/// y = f(h) w^T + bias: the second half of an MLP; the rest as in linear_int8.
inline constinit Kernel<void(Tensor& y, const Tensor& h, const Tensor& weight, const Tensor& packed,
                             const Tensor& scale, const Tensor& bias, const ActivationKernels& f)>
    activation_linear_int8{"activation_linear_int8", activation_linear_int8_flops};

/// A layer's weight int8 [O,I] with what goes with it, as in linear_int8.
struct Int8Layer {
  Tensor weight, packed, scale, bias;
  std::size_t bytes() const { return weight.bytes(); }
};
inline double mlp_int8_flops(Tensor&, const Tensor& x, const Int8Layer& first, const Int8Layer& second,
                             const ActivationKernels&) {
  return 2.0 * static_cast<double>(x.dim(0)) * static_cast<double>(first.bytes() + second.bytes());
}
/// y = f(x w^T + b) v^T + c: an MLP, whose hidden layer is not stored.  x [R,I] and y [R,O] of one dtype,
/// float32 or bfloat16; first is w and b, second v and c.
inline constinit Kernel<void(Tensor& y, const Tensor& x, const Int8Layer& first, const Int8Layer& second,
                             const ActivationKernels& f)>
    mlp_int8{"mlp_int8", mlp_int8_flops};
/// weight int8 [O,I] in the order in which these read it fastest. `packed` is made here; it stays undefined
/// where there is no better order.
inline constinit Kernel<void(Tensor& packed, const Tensor& weight)> pack_int8{"pack_int8"};

}  // namespace vitral::kernel
