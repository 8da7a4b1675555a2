#include "tensor/ops/momentum.h"

#include "tensor/cpu/update.h"

namespace vitral {
namespace {

template <class Formula, class T>
VITRAL_CLONES void update_chunk(T* __restrict p, T* __restrict m, const T* __restrict g, T lr, T decay,
                                T scale, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) Formula::update(p[i], m[i], g[i] * scale, lr, decay);
}

template <class Formula>
void update_items(std::span<const UpdateItem> items, const Tensor& control, const Tensor& /*steps*/,
                  double weight_decay, double average_weight) {
  const double *values = control.data<double>(), lr = values[update_lr], scale = values[update_scale];
  if (scale == 0) return;
  for (const UpdateItem& item : items)
    dispatch_float(Formula::name, item.p.dtype(), [&]<class T>(T) {
      T *p = item.p.data<T>(), *m = item.state[0].data<T>();
      const T* g = item.g.data<T>();
      cpu_kernels::update_item<T>(item, average_weight, [&](std::int64_t i, std::int64_t n) {
        update_chunk<Formula, T>(p + i, m + i, g + i, static_cast<T>(lr),
                                 static_cast<T>(1 - lr * weight_decay), static_cast<T>(scale), n);
      });
    });
}

const bool implemented = kernel::for_momentum_kernels([]<class Formula>(Formula, auto& kernel) {
  return kernel.implement(Device::Kind::cpu, update_items<Formula>);
});

}  // namespace
}  // namespace vitral
