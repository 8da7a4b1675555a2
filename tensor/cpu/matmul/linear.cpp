#include "tensor/ops/linear.h"

#include "tensor/cpu/matmul/few_rows.h"
#include "tensor/cpu/number.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"

#ifdef VITRAL_ONEDNN
#include "tensor/cpu/matmul/onednn.h"
#endif

namespace vitral {
namespace {

#ifdef VITRAL_ONEDNN
namespace onednn = cpu_kernels::onednn;

#endif

void linear(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (y.numel() == 0) return;
#ifdef VITRAL_ONEDNN
  // A single product with few rows would be dearer to pack than to do.
  if (onednn::multiplies(x.dtype()) && x.dim(1) > 0 && (x.dim(0) >= 32 || x.dtype() == DType::bfloat16))
    return onednn::linear(y.raw(), x.raw(), weight.raw(), true, bias.defined() ? bias.raw() : nullptr,
                          onednn::linear_of(y, x, bias));
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
  const std::int64_t rows = x.dim(0), in = x.dim(1), out = y.dim(1);
  if (x.dtype() == DType::float32 && rows <= cpu_kernels::few_rows && cpu_kernels::multiplies_few_rows() &&
      onednn::packed_in_blocks(in, out, x.dtype()))
    return cpu_kernels::multiply_few_rows(y.data<float>(), x.data<float>(),
                                          static_cast<const float*>(packed.raw()),
                                          bias.defined() ? bias.data<float>() : nullptr, rows, in, out);
  onednn::linear_packed(y, x, packed, bias);
}

const bool packs = kernel::pack_weight.implement(Device::Kind::cpu, pack) &&
                   kernel::linear_packed.implement(Device::Kind::cpu, packed_linear);
#endif

const bool implemented = kernel::linear.implement(Device::Kind::cpu, linear) &&
                         kernel::linear_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
