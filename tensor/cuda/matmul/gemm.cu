// One call of cuBLASLt (tensor/cuda/matmul/matmul.h) for a product or a batch of them; on Hopper bfloat16
// products run on the tensor cores by way of the tensor memory accelerator.
#include <limits>

#include "tensor/backend.h"
#include "tensor/cuda/matmul/matmul.h"
#include "tensor/ops/gemm.h"

namespace vitral {
namespace {

void gemm(Tensor& c, const Tensor& a, const Tensor& b, kernel::GemmOptions o) {
  if (c.numel() == 0) return;
  Product p{.m = c.dim(-2),
            .n = c.dim(-1),
            .k = a.dim(o.transpose_a ? -2 : -1),
            .batch = c.shape().product(0, c.rank() - 2),
            .transpose_a = o.transpose_a,
            .transpose_b = o.transpose_b,
            .accumulate = o.accumulate};
  if (p.k == 0) {
    if (!o.accumulate) backend(c.device().kind).zero(c.raw(), c.bytes(), c.device().index);
    return;
  }
  if (p.batch > 1 && b.rank() == 2) {
    if (o.transpose_a) {
      p.shared_b = true;
    } else {  // the rows of all are one long matrix
      p.m *= p.batch;
      p.batch = 1;
    }
  }
  VITRAL_CHECK(p.batch <= std::numeric_limits<std::int32_t>::max(),
               "gemm: a batch of {} products is more than cuBLASLt counts", p.batch);
  cuda::multiply("gemm", p, c, a, b);
}

const bool implemented = kernel::gemm.implement(Device::Kind::cuda, gemm);

}  // namespace
}  // namespace vitral
