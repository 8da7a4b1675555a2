#include "tensor/cpu/matmul/eigen_product.h"

#define VITRAL_DECLARE_LEVEL(level)                                             \
  namespace vitral::cpu_kernels::level {                                        \
  void multiply(float* c, const float* a, const float* b, const Product& p);    \
  void multiply(double* c, const double* a, const double* b, const Product& p); \
  }
VITRAL_DECLARE_LEVEL(baseline)
#ifdef VITRAL_LEVELS
VITRAL_DECLARE_LEVEL(x86_64_v3)
VITRAL_DECLARE_LEVEL(x86_64_v4)
#endif

namespace vitral::cpu_kernels {
namespace {

template <class T>
using Multiply = void (*)(T* c, const T* a, const T* b, const Product& p);

template <class T>
Multiply<T> best() {
#if defined(VITRAL_LEVELS) && \
    !defined(__clang__)  // which knows no levels, and reads this when it checks the code
  if (__builtin_cpu_supports("x86-64-v4")) return x86_64_v4::multiply;
  if (__builtin_cpu_supports("x86-64-v3")) return x86_64_v3::multiply;
#endif
  return baseline::multiply;
}

}  // namespace

void multiply(float* c, const float* a, const float* b, const Product& p) {
  static const Multiply<float> chosen = best<float>();
  chosen(c, a, b, p);
}

void multiply(double* c, const double* a, const double* b, const Product& p) {
  static const Multiply<double> chosen = best<double>();
  chosen(c, a, b, p);
}

}  // namespace vitral::cpu_kernels
