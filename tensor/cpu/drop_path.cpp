#include "tensor/ops/drop_path.h"

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

template <class T, class C>
VITRAL_CLONES void scale_row(T* y, const T* x, C factor, std::int64_t width) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) cpu_kernels::store(y[i], cpu_kernels::load(x[i]) * factor);
}

void drop_path(Tensor& y, const Tensor& x, double rate, const SampleDraws& draws) {
  const std::int64_t width = x.dim(1), step = draws.step.defined() ? *draws.step.data<std::int64_t>() : 0;
  cpu_kernels::dispatch_number("drop_path", x.dtype(), [&]<class T>(T) {
    using C = cpu_kernels::Compute<T>;
    T* to = cpu_kernels::elements<T>(y);
    const T* from = cpu_kernels::elements<T>(x);
    cpu_kernels::parallel_chunks(x.dim(0), 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const double u =
          SampleDraws::uniform(draws.seed, step, draws.first_sample + i, draws.layer, draws.branch);
      if (u < rate)
        std::fill_n(to + i * width, width, T{});
      else
        scale_row(to + i * width, from + i * width, static_cast<C>(1 / (1 - rate)), width);
    });
  });
}

const bool implemented = kernel::drop_path.implement(Device::Kind::cpu, drop_path);

}  // namespace
}  // namespace vitral
