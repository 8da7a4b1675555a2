// Matrix products: every product of tensors in vitral goes through this one function or, with a bias, through
// tensor/ops/linear.h. (The attention kernels multiply tiles of one head inside.)
#pragma once
#include "tensor/kernel.h"

namespace vitral {

/// How a GPU multiplies float32 matrices: exactly (to rounding), or with inputs rounded to TF32, 10 bits of
/// mantissa, several times as fast. For the whole process; the CPU does not know TF32.
enum class MatmulPrecision : unsigned char { float32, tf32 };
void set_matmul_precision(MatmulPrecision precision);
MatmulPrecision matmul_precision();

/// Whether the CPU multiplies bfloat16 faster than float32: processors with AVX512_BF16 or AMX, in a build
/// with oneDNN. All others can do it, slower than float32.
bool cpu_has_bfloat16();

namespace kernel {

struct GemmOptions {
  bool transpose_a = false;  // a is stored [K,M]
  bool transpose_b = false;  // b is stored [N,K]
  bool accumulate = false;   // C += A B instead of C = A B
};

inline double gemm_flops(Tensor& c, const Tensor& a, const Tensor&, GemmOptions options) {
  return 2.0 * static_cast<double>(c.numel()) * static_cast<double>(a.dim(options.transpose_a ? -2 : -1));
}

/// C[M,N] = A[M,K] B[K,N] for the last two dimensions of each; the leading dimensions are a batch and the
/// same for all three, or absent from b (one b for the whole batch). One dtype, or bfloat16 A and B with a
/// float32 C. Sums are made in float32, of float64 in float64.
inline constinit Kernel<void(Tensor& c, const Tensor& a, const Tensor& b, GemmOptions options)> gemm{
    "gemm", gemm_flops};

}  // namespace kernel
}  // namespace vitral
