#include "tensor/ops/linear.h"

#include "tensor/cpu/number.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"

#ifdef VITRAL_ONEDNN
#include "tensor/cpu/onednn.h"
#endif

namespace vitral {
namespace {

#ifdef VITRAL_ONEDNN
namespace onednn = cpu_kernels::onednn;

const void* data_of(const Tensor& t) { return t.defined() ? t.raw() : nullptr; }

onednn::Linear linear_of(const Tensor& y, const Tensor& x, const Tensor& bias) {
  return {.rows = x.dim(0),
          .in = x.dim(1),
          .out = y.dim(1),
          .dtype = x.dtype(),
          .result = y.dtype(),
          .bias = bias.defined()};
}
#endif

void linear(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (y.numel() == 0) return;
#ifdef VITRAL_ONEDNN
  // A single product with few rows would be dearer to pack than to do.
  if (onednn::multiplies(x.dtype()) && x.dim(1) > 0 && (x.dim(0) >= 32 || x.dtype() == DType::bfloat16))
    return onednn::linear(y.raw(), x.raw(), weight.raw(), true, data_of(bias), linear_of(y, x, bias));
#endif
  // The bias is written first and the product added to it: one pass over y less than adding it after.
  if (bias.defined()) kernel::binary(y, Tensor::zeros({y.dim(0), 1}, y.dtype()), bias, BinaryOp::add);
  kernel::gemm(y, x, weight, {.transpose_b = true, .accumulate = bias.defined()});
}

void backward(Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x, bool accumulate) {
  if (dweight.numel() > 0) kernel::gemm(dweight, dy, x, {.transpose_a = true, .accumulate = accumulate});
  if (!dbias.defined()) return;
  Tensor sum = accumulate ? Tensor(dbias.shape(), dbias.dtype()) : dbias;
  kernel::sum_axis(sum, dy, {1, dy.dim(0), dy.dim(1)}, 1);
  if (accumulate) kernel::add_to(dbias, sum);
}

#ifdef VITRAL_ONEDNN
void pack(Tensor& packed, const Tensor& weight) { packed = onednn::packed_weight(weight, true); }

void packed_linear(Tensor& y, const Tensor& x, const Tensor& packed, const Tensor& bias) {
  if (y.numel() == 0) return;
  onednn::linear_packed(y.raw(), x.raw(), packed.raw(), data_of(bias), linear_of(y, x, bias));
}

const bool packs = kernel::pack_weight.implement(Device::Kind::cpu, pack) &&
                   kernel::linear_packed.implement(Device::Kind::cpu, packed_linear);
#endif

const bool implemented = kernel::linear.implement(Device::Kind::cpu, linear) &&
                         kernel::linear_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
