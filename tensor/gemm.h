// Matrix products: every product of tensors in vitral goes through this one function. (The attention kernels
// multiply tiles of one head inside.)
#pragma once
#include "tensor/kernel.h"

namespace vitral::kernel {

struct GemmOptions {
  bool transpose_a = false;  // a is stored [K,M]
  bool transpose_b = false;  // b is stored [N,K]
  bool accumulate = false;   // C += A B instead of C = A B
};

/// C[M,N] = A[M,K] B[K,N] for the last two dimensions of each; the leading dimensions are a batch and the
/// same for all three, or absent from b (one b for the whole batch). float32 and float64.
inline constinit Kernel<void(Tensor& c, const Tensor& a, const Tensor& b, GemmOptions options)> gemm{"gemm"};

}  // namespace vitral::kernel
