// One large product goes to the library that the build was given (its OpenMP threads are ours), or to Eigen;
// a batch of small ones is spread over the threads, one product a thread. bfloat16 is multiplied by oneDNN
// where the processor knows it, else in float32, whose sums are as exact.
#include "tensor/ops/gemm.h"

#include <algorithm>
#include <limits>

#include "tensor/cpu/matmul/eigen_product.h"
#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

#ifdef VITRAL_ONEDNN
#include "tensor/cpu/matmul/onednn.h"
#endif
#ifdef VITRAL_CBLAS
#include <cblas.h>
#endif
#ifdef VITRAL_BLIS
#include <blis.h>
#endif

namespace vitral {
namespace {

struct Sizes {
  std::int64_t m, n, k;
};

template <class T>
void multiply_eigen(T* c, const T* a, const T* b, Sizes s, kernel::GemmOptions o) {
  cpu_kernels::multiply(c, a, b, {s.m, s.n, s.k, o.transpose_a, o.transpose_b, o.accumulate});
}

#if defined(VITRAL_CBLAS)
template <class T>
void multiply_large(T* c, const T* a, const T* b, Sizes s, kernel::GemmOptions o) {
  VITRAL_CHECK(std::max({s.m, s.n, s.k}) <= std::numeric_limits<int>::max(),
               "gemm: a product of [{}, {}] and [{}, {}] is beyond the BLAS's 32-bit sizes", s.m, s.k, s.k,
               s.n);
  const auto ta = o.transpose_a ? CblasTrans : CblasNoTrans, tb = o.transpose_b ? CblasTrans : CblasNoTrans;
  const auto m = static_cast<int>(s.m), n = static_cast<int>(s.n), k = static_cast<int>(s.k);
  const int lda = o.transpose_a ? m : k, ldb = o.transpose_b ? k : n;
  const T beta = o.accumulate ? T(1) : T(0);
#ifdef VITRAL_BLIS
  bli_thread_set_num_threads(cpu_threads());  // BLIS takes one thread unless it is told
#endif
  if constexpr (std::is_same_v<T, float>)
    cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1, a, lda, b, ldb, beta, c, n);
  else
    cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1, a, lda, b, ldb, beta, c, n);
}
#else
template <class T>
void multiply_large(T* c, const T* a, const T* b, Sizes s, kernel::GemmOptions o) {
#ifdef VITRAL_ONEDNN
  if constexpr (std::is_same_v<T, float>)
    if (s.k > 0) {
      // The products of a layer's backward: the weight is packed on the way.
      if (!o.transpose_a && !o.accumulate && s.m >= 128)
        return cpu_kernels::onednn::linear(c, a, b, o.transpose_b, nullptr,
                                           {.rows = s.m, .in = s.k, .out = s.n});
      return cpu_kernels::onednn::multiply(c, a, b, s.m, s.n, s.k, o);
    }
#endif
  multiply_eigen(c, a, b, s, o);
}
#endif

template <class T>
void multiply(T* c, const T* a, const T* b, Sizes s, std::int64_t batch, bool shared_b,
              kernel::GemmOptions o) {
  if (batch == 1) return multiply_large(c, a, b, s, o);
  if (shared_b && !o.transpose_a) return multiply_large(c, a, b, {batch * s.m, s.n, s.k}, o);
  const std::int64_t step_b = shared_b ? 0 : s.k * s.n;
  cpu_kernels::parallel_chunks(batch, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
    multiply_eigen(c + i * s.m * s.n, a + i * s.m * s.k, b + i * step_b, s, o);
  });
}

// bfloat16 A and B, C of either kind.
void multiply_bfloat16(Tensor& c, const Tensor& a, const Tensor& b, Sizes s, std::int64_t batch,
                       bool shared_b, kernel::GemmOptions o) {
#ifdef VITRAL_ONEDNN
  const std::int64_t rows = shared_b ? batch * s.m : s.m;
  const bool one = batch == 1 || (shared_b && !o.transpose_a);
  if (one && s.k > 0 && cpu_kernels::onednn::multiplies(DType::bfloat16)) {
    if (!o.transpose_a && !o.accumulate)
      return cpu_kernels::onednn::linear(
          c.raw(), a.raw(), b.raw(), o.transpose_b, nullptr,
          {.rows = rows, .in = s.k, .out = s.n, .dtype = DType::bfloat16, .result = c.dtype()});
    if (o.transpose_a && !o.transpose_b && c.dtype() == DType::float32)
      return cpu_kernels::onednn::weight_gradient(c.data<float>(), a.raw(), b.raw(), s.k, s.n, s.m,
                                                  DType::bfloat16, o.accumulate);
  }
#endif
  Tensor wide = o.accumulate                  ? c.cast(DType::float32)
                : c.dtype() == DType::float32 ? c
                                              : Tensor(c.shape(), DType::float32);
  const Tensor wide_a = a.cast(DType::float32), wide_b = b.cast(DType::float32);
  multiply(wide.data<float>(), wide_a.data<float>(), wide_b.data<float>(), s, batch, shared_b, o);
  if (!wide.shares_memory_with(c)) c.copy_from(wide.cast(c.dtype()));
}

void gemm(Tensor& c, const Tensor& a, const Tensor& b, kernel::GemmOptions o) {
  const Sizes s{c.dim(-2), c.dim(-1), a.dim(o.transpose_a ? -2 : -1)};
  const std::int64_t batch = c.shape().product(0, c.rank() - 2);
  const bool shared_b = b.rank() == 2;
  if (c.numel() == 0) return;
  const bool same = a.dtype() == b.dtype() &&
                    (c.dtype() == a.dtype() || (a.dtype() == DType::bfloat16 && c.dtype() == DType::float32));
  VITRAL_CHECK(
      same && a.dtype() != DType::float16,
      "gemm: {} x {} to {} is not supported; use float32, float64 or bfloat16, or bfloat16 to float32",
      name(a.dtype()), name(b.dtype()), name(c.dtype()));
  if (a.dtype() == DType::bfloat16) return multiply_bfloat16(c, a, b, s, batch, shared_b, o);
  dispatch_float("gemm", c.dtype(),
                 [&]<class T>(T) { multiply(c.data<T>(), a.data<T>(), b.data<T>(), s, batch, shared_b, o); });
}

}  // namespace

bool cpu_has_bfloat16() {
#ifdef VITRAL_ONEDNN
  return cpu_kernels::onednn::has_bfloat16();
#else
  return false;
#endif
}

namespace {

const bool implemented = kernel::gemm.implement(Device::Kind::cpu, gemm);

}  // namespace
}  // namespace vitral
