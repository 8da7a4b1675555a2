#include "tensor/linear.h"

#include "tensor/binary.h"
#include "tensor/reduce.h"

namespace vitral {
namespace {

void linear(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  // The bias is written first and the product added to it: one pass over y less than adding it after.
  if (bias.defined()) kernel::binary(y, Tensor::zeros({y.dim(0), 1}, y.dtype()), bias, BinaryOp::add);
  kernel::gemm(y, x, weight, {.transpose_b = true, .accumulate = bias.defined()});
}

void backward(Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x) {
  kernel::gemm(dweight, dy, x, {.transpose_a = true});
  if (dbias.defined()) kernel::sum_axis(dbias, dy, 1, dy.dim(0), dy.dim(1), 1);
}

const bool implemented = kernel::linear.implement(Device::Kind::cpu, linear) &&
                         kernel::linear_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
