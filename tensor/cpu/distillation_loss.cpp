#include "tensor/ops/distillation_loss.h"

#include <cmath>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

template <class C>
VITRAL_CLONES C squares(const C* x, std::int64_t n) {
  C sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

// One row. -> sum |u - v|; dy is null where no gradient is wanted. weight: norm / (B D).
template <class C>
C loss_row(C* dy, const C* y, const C* t, C weight, std::int64_t n) {
  const C length = std::sqrt(squares(y, n)), target = std::sqrt(squares(t, n));
  C sum = 0, along = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const C u = y[i] / length, difference = u - t[i] / target;
    sum += std::abs(difference);
    if (!dy) continue;
    // A NaN stays one.
    dy[i] = difference > 0 ? weight : difference < 0 ? -weight : difference * 0;
    along += u * dy[i];
  }
  if (dy)
    for (std::int64_t i = 0; i < n; ++i) dy[i] = (dy[i] - y[i] / length * along) / length;
  return sum;
}

void distillation_loss(Tensor& loss, Tensor& dy, const Tensor& y, const Tensor& t, double norm) {
  dispatch_float("distillation_loss", y.dtype(), [&]<class C>(C) {
    const std::int64_t rows = y.dim(0), width = y.dim(1);
    const double weight = norm / static_cast<double>(y.numel());
    Tensor sums({rows}, DType::float64);
    C* slopes = dy.defined() ? dy.data<C>() : nullptr;
    cpu_kernels::parallel_chunks(rows, 8, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r)
        sums.data<double>()[r] =
            static_cast<double>(loss_row<C>(slopes ? slopes + r * width : nullptr, y.data<C>() + r * width,
                                            t.data<C>() + r * width, static_cast<C>(weight), width));
    });
    double sum = 0;
    for (std::int64_t r = 0; r < rows; ++r) sum += sums.data<double>()[r];
    *loss.data<C>() = static_cast<C>(weight * sum);
  });
}

const bool implemented = kernel::distillation_loss.implement(Device::Kind::cpu, distillation_loss);

}  // namespace
}  // namespace vitral
