// The configuration attributes of cuBLASLt's algorithms: what is opaque in cublasLtMatmulAlgo_t, as numbers
// that can be kept.
#pragma once
#include <vector>

#include "tensor/cuda/matmul/cublas_lt.h"
#include "tensor/ops/products.h"

namespace vitral::cuda {

/// Attributes that this version of the library does not know are 0.
ProductAlgorithm attributes_of(const cublasLtMatmulAlgo_t& algorithm);
/// Sets all but the id, which cublasLtMatmulAlgoInit has set. What the library says of the first that it
/// refuses.
cublasStatus_t set_attributes(cublasLtMatmulAlgo_t& algorithm, const ProductAlgorithm& attributes);

/// What an algorithm can be set to.
struct Capabilities {
  std::vector<std::uint32_t> tiles;
  std::uint32_t reductions = 0;  // a mask of cublasLtReductionScheme_t
  bool splits_k = false;
};
Capabilities capabilities_of(const cublasLtMatmulAlgo_t& algorithm);

}  // namespace vitral::cuda
