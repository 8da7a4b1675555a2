// One large product goes to the BLAS the build was given (its OpenMP threads are ours), or to Eigen; a batch
// of small ones is spread over the threads, one product a thread.
#include "tensor/gemm.h"

#include <algorithm>
#include <limits>

#include <Eigen/Core>

#include "tensor/cpu/parallel.h"

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
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const Matrix> ma(a, o.transpose_a ? s.k : s.m, o.transpose_a ? s.m : s.k);
  const Eigen::Map<const Matrix> mb(b, o.transpose_b ? s.n : s.k, o.transpose_b ? s.k : s.n);
  Eigen::Map<Matrix> mc(c, s.m, s.n);
  if (!o.accumulate) mc.setZero();
  if (o.transpose_a && o.transpose_b)
    mc.noalias() += ma.transpose() * mb.transpose();
  else if (o.transpose_a)
    mc.noalias() += ma.transpose() * mb;
  else if (o.transpose_b)
    mc.noalias() += ma * mb.transpose();
  else
    mc.noalias() += ma * mb;
}

#ifdef VITRAL_CBLAS
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
  multiply_eigen(c, a, b, s, o);
}
#endif

void gemm(Tensor& c, const Tensor& a, const Tensor& b, kernel::GemmOptions o) {
  const Sizes s{c.dim(-2), c.dim(-1), a.dim(o.transpose_a ? -2 : -1)};
  const std::int64_t batch = c.shape().product(0, c.rank() - 2);
  const std::int64_t step_b = b.rank() > 2 ? s.k * s.n : 0;
  if (c.numel() == 0) return;
  dispatch_float("gemm", c.dtype(), [&]<class T>(T) {
    T* pc = c.data<T>();
    const T *pa = a.data<T>(), *pb = b.data<T>();
    if (batch == 1) {
      multiply_large(pc, pa, pb, s, o);
    } else if (step_b == 0 && !o.transpose_a) {
      multiply_large(pc, pa, pb, {batch * s.m, s.n, s.k}, o);
    } else {
      cpu_kernels::parallel_chunks(batch, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
        multiply_eigen(pc + i * s.m * s.n, pa + i * s.m * s.k, pb + i * step_b, s, o);
      });
    }
  });
}

const bool implemented = kernel::gemm.implement(Device::Kind::cpu, gemm);

}  // namespace
}  // namespace vitral
