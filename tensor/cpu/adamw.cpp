#include "tensor/ops/adamw.h"

#include <algorithm>
#include <cmath>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/ops/reduce.h"

namespace vitral {
namespace {

constexpr std::int64_t grain = 65536;

void add_loss(Tensor& control, const Tensor& loss, double weight) {
  dispatch_float("add_loss", loss.dtype(), [&]<class T>(T) {
    control.data<double>()[update_loss] += weight * static_cast<double>(*loss.data<T>());
  });
}

void sum_of_squares(Tensor& control, std::span<const Tensor> gradients) {
  Tensor total = Tensor::zeros({1}, DType::float64);
  for (const Tensor& g : gradients) kernel::add_sum_of_squares(total, g);
  control.data<double>()[update_squares] = *total.data<double>();
}

void begin_update(Tensor& control, Tensor& steps, std::span<const AdamWItem> items, double clip_norm) {
  double* c = control.data<double>();
  if (!std::isfinite(c[update_loss]) || !std::isfinite(c[update_squares])) {
    c[update_scale] = 0;
    return;
  }
  c[update_scale] = clip_norm > 0 ? std::min(1.0, clip_norm / (std::sqrt(c[update_squares]) + 1e-6)) : 1.0;
  for (const AdamWItem& item : items) ++steps.data<std::int64_t>()[item.slot];
}

template <class T>
struct Coefficients {
  T decay, beta1, beta2, rest1, rest2, eps, step, root, scale, average_weight;
};

template <class T>
VITRAL_CLONES void update_chunk(T* __restrict p, T* __restrict m, T* __restrict v, const T* __restrict g,
                                T* __restrict average, cpu_kernels::BFloat16* __restrict copy,
                                Coefficients<T> c, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const T gi = g[i] * c.scale;
    const T mi = c.beta1 * m[i] + c.rest1 * gi, vi = c.beta2 * v[i] + c.rest2 * gi * gi;
    m[i] = mi;
    v[i] = vi;
    p[i] = p[i] * c.decay - c.step * (mi / (std::sqrt(vi) / c.root + c.eps));
  }
  if (average)
    for (std::int64_t i = 0; i < n; ++i) average[i] += c.average_weight * (p[i] - average[i]);
  if (copy)
    for (std::int64_t i = 0; i < n; ++i) cpu_kernels::store(copy[i], static_cast<float>(p[i]));
}

template <class T>
void update(const AdamWItem& item, double lr, double gradient_scale, std::int64_t t, AdamWOptions o,
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
                          .scale = static_cast<T>(gradient_scale),
                          .average_weight = static_cast<T>(average_weight)};
  T *p = item.p.data<T>(), *m = item.m.data<T>(), *v = item.v.data<T>();
  const T* g = item.g.data<T>();
  T* average = item.average.defined() ? item.average.data<T>() : nullptr;
  auto* copy = item.copy.defined() ? cpu_kernels::elements<cpu_kernels::BFloat16>(item.copy) : nullptr;
  cpu_kernels::parallel_chunks(item.p.numel(), grain, [&](std::int64_t, std::int64_t i, std::int64_t end) {
    update_chunk<T>(p + i, m + i, v + i, g + i, average ? average + i : nullptr, copy ? copy + i : nullptr, c,
                    end - i);
  });
}

void adamw(std::span<const AdamWItem> items, const Tensor& control, const Tensor& steps, AdamWOptions options,
           double average_weight) {
  const double* c = control.data<double>();
  if (c[update_scale] == 0) return;
  for (const AdamWItem& item : items)
    dispatch_float("adamw", item.p.dtype(), [&]<class T>(T) {
      update<T>(item, c[update_lr], c[update_scale], steps.data<std::int64_t>()[item.slot], options,
                average_weight);
    });
}

const bool implemented = kernel::add_loss.implement(Device::Kind::cpu, add_loss) &&
                         kernel::sum_of_squares.implement(Device::Kind::cpu, sum_of_squares) &&
                         kernel::begin_update.implement(Device::Kind::cpu, begin_update) &&
                         kernel::adamw.implement(Device::Kind::cpu, adamw);

}  // namespace
}  // namespace vitral
