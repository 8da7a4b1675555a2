// The bias is added, and its gradient summed, while the product's tiles are at hand (epilogues of cuBLASLt),
// so that neither costs a pass over memory. Where cuBLASLt has no such kernel, or a slow one, both are steps
// of their own.
//
// The 21.4M model, an image of 64 tokens in bfloat16, 6 layers with 4 of these each: forward 2.57 GFLOP and
// 6.5 MB of activations read and written; linear_backward as much again (and so does the gradient of x, a
// gemm). As a pass of its own the bias would be 7.3 MB more, its gradient 3.6 MB.
#include "tensor/backend.h"
#include "tensor/cuda/launch.h"
#include "tensor/cuda/matmul/matmul.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/linear.h"
#include "tensor/ops/reduce.h"

namespace vitral {
namespace {

/// Where products of cuBLASLt that also sum the gradient of a bias (BGRADB) are slower than a product and a
/// pass over the gradient. What is not in the table is summed by the product. bench_cublaslt measures both.
struct SlowSums {
  int major;  // of the compute capability
  DType inputs;
};
constexpr SlowSums slow_sums[]{
    // For Hopper it has no such kernel and takes one of Ampere's, which reads without the tensor memory
    // accelerator and multiplies without wgmma, at about half the speed; the pass takes some 30 % of the
    // product's time. Read from the kernels' names and counted; not measured.
    {9, DType::bfloat16},
};

void zero(Tensor& t) { backend(t.device().kind).zero(t.raw(), t.bytes(), t.device().index); }

void linear(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (y.numel() == 0) return;
  Product p{.m = y.dim(0), .n = y.dim(1), .k = x.dim(1), .transpose_b = true};
  if (bias.defined()) {
    p.epilogue = Epilogue::bias;
    if (p.k > 0 && cuda::multiply("linear", p, y, x, weight, bias)) return;
    p.epilogue = Epilogue::none;
    p.accumulate = true;
    kernel::binary(y, Tensor::zeros({p.m, 1}, y.dtype(), y.device()), bias, BinaryOp::add);
  } else if (p.k == 0) {
    zero(y);
  }
  if (p.k > 0) cuda::multiply("linear", p, y, x, weight);
}

void backward(Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x, bool accumulate) {
  Product p{.m = dy.dim(1), .n = x.dim(1), .k = dy.dim(0), .transpose_a = true};
  if (accumulate) {
    if (p.k == 0) return;
    p.accumulate = true;
    if (dweight.numel() > 0) cuda::multiply("linear_backward", p, dweight, dy, x);
    if (!dbias.defined()) return;
    Tensor sum(dbias.shape(), dbias.dtype(), dbias.device());
    kernel::sum_axis(sum, dy, {1, p.k, p.m}, 1);
    return kernel::add_to(dbias, sum);
  }
  if (p.k == 0) {
    if (dweight.defined()) zero(dweight);
    if (dbias.defined()) zero(dbias);
    return;
  }
  if (dweight.numel() > 0 && dbias.defined() && dbias.dtype() == dweight.dtype() &&
      cuda::sums_in_product(cuda::limits(dy.device()).major, dy.dtype())) {
    p.epilogue = Epilogue::sum_of_a;
    if (cuda::multiply("linear_backward", p, dweight, dy, x, dbias)) return;
    p.epilogue = Epilogue::none;
  }
  if (dweight.numel() > 0) cuda::multiply("linear_backward", p, dweight, dy, x);
  if (dbias.defined()) kernel::sum_axis(dbias, dy, {1, p.k, p.m}, 1);
}

const bool implemented = kernel::linear.implement(Device::Kind::cuda, linear) &&
                         kernel::linear_backward.implement(Device::Kind::cuda, backward);

}  // namespace

bool cuda::sums_in_product(int major, DType inputs) {
  for (const SlowSums& row : slow_sums)
    if (row.major == major && row.inputs == inputs) return false;
  return true;
}

}  // namespace vitral
