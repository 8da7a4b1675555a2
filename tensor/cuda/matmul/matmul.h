// Matrix products by cuBLASLt, the host's side that gemm and linear share.
#pragma once
#include "tensor/ops/products.h"
#include "tensor/tensor.h"

namespace vitral::cuda {

/// Queues the product, with the algorithm that is chosen for it (tensor/ops/products.h). False, and nothing
/// is queued, where cuBLASLt does not know the epilogue for these sizes and types; any other failure is an
/// Error that names `operation`.
bool multiply(const char* operation, const Product& product, Tensor& c, const Tensor& a, const Tensor& b,
              const Tensor& vector = {});

/// Whether the gradient of a bias is summed by the product that makes the weight's (Epilogue::sum_of_a), or
/// in a pass of its own, for a GPU of this compute capability and inputs of this dtype.
bool sums_in_product(int major, DType inputs);

/// Whose products these are: "NVIDIA H200 9.0, cuBLASLt 13.1.0" (Backend::multiplier).
std::string multiplier(int index);

}  // namespace vitral::cuda
