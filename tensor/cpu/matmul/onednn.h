// Matrix products by oneDNN (github.com/oneapi-src/oneDNN, Debian's libdnnl-dev), in a build that found it
// (VITRAL_ONEDNN): code made at run time for the processor at hand, bfloat16 where the processor has it, and
// weights in the order in which the product reads them ("packed").
//
// A packed weight is an opaque tensor of bytes. Packing costs a pass over the weight: worth it for a few
// dozen rows and more.
#pragma once
#include "tensor/ops/gemm.h"

namespace vitral::cpu_kernels::onednn {

/// Whether this processor multiplies bfloat16 at more than the speed of float32: AVX512_BF16, which all with
/// AMX have, too.
bool has_bfloat16();
/// Whether products of this dtype come from here: float32, and bfloat16 where the processor has it.
bool multiplies(DType dtype);

/// y[R,O] = x[R,I] w (+ bias[O]); w stored [O,I] where transposed, else [I,O]; y and x of one dtype, float32
/// or bfloat16, bias as well; from bfloat16 x also a float32 y.
struct Linear {
  std::int64_t rows = 0, in = 0, out = 0;
  DType dtype = DType::float32, result = DType::float32;
  bool bias = false;
  bool operator<(const Linear& other) const;
};
Linear linear_of(const Tensor& y, const Tensor& x, const Tensor& bias);

void linear_packed(void* y, const void* x, const void* packed, const void* bias, const Linear& l);
/// The same of tensors: y[R,O], x[R,I], bias[O] or undefined.
void linear_packed(Tensor& y, const Tensor& x, const Tensor& packed, const Tensor& bias);
/// Packs the weight on the way.
void linear(void* y, const void* x, const void* weight, bool transposed, const void* bias, const Linear& l);

/// weight[O,I] for x weight^T (transposed), or weight[I,O] for x weight, packed; undefined where multiplies()
/// does not know the dtype, or nothing is in it.
Tensor packed_weight(const Tensor& weight, bool transposed);

/// Whether the packed weight has the order of pack_blocks().
bool packed_in_blocks(std::int64_t in, std::int64_t out, DType dtype);

/// dweight[O,I] = dy[R,O]^T x[R,I], or +=. dweight float32, dy and x float32 or bfloat16.
void weight_gradient(float* dweight, const void* dy, const void* x, std::int64_t rows, std::int64_t in,
                     std::int64_t out, DType dtype, bool accumulate);

/// Any product of float32 matrices.
void multiply(float* c, const float* a, const float* b, std::int64_t m, std::int64_t n, std::int64_t k,
              const kernel::GemmOptions& options);

}  // namespace vitral::cpu_kernels::onednn
