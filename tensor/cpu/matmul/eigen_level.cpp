// Compiled several times, for processors that have more and more. Two things keep code for new processors out
// of functions that all share: Eigen itself goes by another name in each (-DEigen=Eigen_LEVEL), and nothing
// else is included that the linker might take for all from here (tests/tensor/levels_test.cpp).
#include <Eigen/Core>

#include "tensor/cpu/matmul/eigen_product.h"

#ifndef VITRAL_LEVEL
#define VITRAL_LEVEL baseline
#endif

namespace vitral::cpu_kernels::VITRAL_LEVEL {

namespace {

template <class T>
void run(T* c, const T* a, const T* b, const Product& p) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const Matrix> ma(a, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k);
  const Eigen::Map<const Matrix> mb(b, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n);
  Eigen::Map<Matrix> mc(c, p.m, p.n);
  if (!p.accumulate) mc.setZero();
  if (p.transpose_a && p.transpose_b)
    mc.noalias() += ma.transpose() * mb.transpose();
  else if (p.transpose_a)
    mc.noalias() += ma.transpose() * mb;
  else if (p.transpose_b)
    mc.noalias() += ma * mb.transpose();
  else
    mc.noalias() += ma * mb;
}

}  // namespace

void multiply(float* c, const float* a, const float* b, const Product& p) { run(c, a, b, p); }
void multiply(double* c, const double* a, const double* b, const Product& p) { run(c, a, b, p); }

}  // namespace vitral::cpu_kernels::VITRAL_LEVEL
