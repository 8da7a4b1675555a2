#include "tensor/ops/adamw.h"

#include <cmath>

#include "tensor/cpu/update.h"

namespace vitral {
namespace {

template <class T>
struct Coefficients {
  T decay, beta1, beta2, rest1, rest2, eps, step, root, scale;
};

template <class T>
VITRAL_CLONES void update_chunk(T* __restrict p, T* __restrict m, T* __restrict v, const T* __restrict g,
                                Coefficients<T> c, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const T gi = g[i] * c.scale;
    const T mi = c.beta1 * m[i] + c.rest1 * gi, vi = c.beta2 * v[i] + c.rest2 * gi * gi;
    m[i] = mi;
    v[i] = vi;
    p[i] = p[i] * c.decay - c.step * (mi / (std::sqrt(vi) / c.root + c.eps));
  }
}

template <class T>
void update(const UpdateItem& item, double lr, double gradient_scale, std::int64_t t, AdamWOptions o,
            double average_weight) {
  const auto steps = static_cast<double>(t);
  const Coefficients<T> c{.decay = static_cast<T>(1 - lr * o.weight_decay),
                          .beta1 = static_cast<T>(o.beta1),
                          .beta2 = static_cast<T>(o.beta2),
                          .rest1 = static_cast<T>(1 - o.beta1),
                          .rest2 = static_cast<T>(1 - o.beta2),
                          .eps = static_cast<T>(o.eps),
                          .step = static_cast<T>(lr / (1 - std::pow(o.beta1, steps))),
                          .root = static_cast<T>(std::sqrt(1 - std::pow(o.beta2, steps))),
                          .scale = static_cast<T>(gradient_scale)};
  T *p = item.p.data<T>(), *m = item.state[0].data<T>(), *v = item.state[1].data<T>();
  const T* g = item.g.data<T>();
  cpu_kernels::update_item<T>(item, average_weight, [&](std::int64_t i, std::int64_t n) {
    update_chunk<T>(p + i, m + i, v + i, g + i, c, n);
  });
}

void adamw(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
           AdamWOptions options, double average_weight) {
  const double* c = control.data<double>();
  if (c[update_scale] == 0) return;
  for (const UpdateItem& item : items)
    dispatch_float("adamw", item.p.dtype(), [&]<class T>(T) {
      update<T>(item, c[update_lr], c[update_scale], steps.data<std::int64_t>()[item.slot], options,
                average_weight);
    });
}

const bool implemented = kernel::adamw.implement(Device::Kind::cpu, adamw);

}  // namespace
}  // namespace vitral
