// Products of matrices by Eigen: the provider that is always there. eigen_level.cpp is compiled once for each
// level of x86-64 (meson.build), and this takes the best one that the processor has.
#pragma once
#include <cstdint>

namespace vitral::cpu_kernels {

/// C[M,N] = op(A)[M,K] op(B)[K,N], or C += ...; all row-major without gaps.
struct Product {
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false;  // a is stored [K,M]
  bool transpose_b = false;  // b is stored [N,K]
  bool accumulate = false;
};

/// On all threads, or on one inside a parallel region.
void multiply(float* c, const float* a, const float* b, const Product& p);
void multiply(double* c, const double* a, const double* b, const Product& p);

}  // namespace vitral::cpu_kernels
