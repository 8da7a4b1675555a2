// What the descriptors of cuBLASLt hold, and the product itself.
#pragma once
#include "cublasLt.h"

struct cublasLtMatrixLayoutOpaque_t {
  std::int32_t type = CUDA_R_32F, order = CUBLASLT_ORDER_COL, batch = 1;
  std::uint64_t rows = 0, cols = 0;
  std::int64_t ld = 0, stride = 0;
};
struct cublasLtMatmulDescOpaque_t {
  std::int32_t compute = CUBLAS_COMPUTE_32F, scale = CUDA_R_32F, pointers = CUBLASLT_POINTER_MODE_HOST;
  std::int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N, bias_type = -1;
  std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
  std::int64_t bias_stride = 0;
};
struct cublasLtMatmulPreferenceOpaque_t {
  std::uint64_t workspace = 0;
  std::uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::uint32_t align_a = 256, align_b = 256, align_c = 256, align_d = 256;
};

namespace simulator {

struct Matmul {
  cublasLtMatmulDescOpaque_t desc;
  cublasLtMatrixLayoutOpaque_t a, b, c, d;
  const void* a_data;
  const void* b_data;
  const void* c_data;
  void* d_data;
  double alpha, beta;
  int parts = 1;                                          // of the sum over K, each made by itself
  std::uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;  // what the parts are kept in
};

/// All sizes are checked.
void run(const Matmul& product);
std::size_t size_of(std::int32_t type);

}  // namespace simulator
