// Matrix products by cuBLASLt, the host's side that gemm and linear share: descriptors, the algorithm that
// cuBLASLt proposes, and what is remembered of them from call to call.
#pragma once
#include <compare>
#include <cstdint>

#include "tensor/tensor.h"

namespace vitral::cuda {

/// What a product does beside multiplying, with a vector of the dtype of C.
enum class Epilogue : unsigned char {
  none,
  bias,     // C[m,n] += vector[n]
  sum_of_a  // vector[m] = sum_k A[m,k]: the gradient of a bias where A is a gradient, transposed
};

/// C[M,N] = A[M,K] B[K,N], row-major and without gaps, `batch` of them one after the other.
struct Product {
  std::int64_t m = 0, n = 0, k = 0;  // none of them 0
  std::int64_t batch = 1;
  bool transpose_a = false;  // A is stored [K,M]
  bool transpose_b = false;  // B is stored [N,K]
  bool shared_b = false;     // one B for the whole batch
  bool accumulate = false;   // C += A B
  Epilogue epilogue = Epilogue::none;

  auto operator<=>(const Product&) const = default;
};

/// Queues the product. False, and nothing is queued, where cuBLASLt does not know the epilogue for these
/// sizes and types; any other failure is an Error that names `operation`.
bool multiply(const char* operation, const Product& product, Tensor& c, const Tensor& a, const Tensor& b,
              const Tensor& vector = {});

}  // namespace vitral::cuda
