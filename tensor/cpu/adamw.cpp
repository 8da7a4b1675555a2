#include "tensor/adamw.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Core>

#include "tensor/cpu/parallel.h"
#include "tensor/reduce.h"

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
void update(const AdamWItem& item, double lr, double gradient_scale, std::int64_t t, AdamWOptions o,
            double average_weight) {
  T *pp = item.p.data<T>(), *pm = item.m.data<T>(), *pv = item.v.data<T>();
  const T* pg = item.g.data<T>();
  const T decay = static_cast<T>(1 - lr * o.weight_decay), b1 = static_cast<T>(o.beta1),
          b2 = static_cast<T>(o.beta2);
  const T c1 = static_cast<T>(1 - o.beta1), c2 = static_cast<T>(1 - o.beta2), eps = static_cast<T>(o.eps);
  const T step = static_cast<T>(lr / (1 - std::pow(o.beta1, static_cast<double>(t))));
  const T root = static_cast<T>(std::sqrt(1 - std::pow(o.beta2, static_cast<double>(t))));
  const T scale = static_cast<T>(gradient_scale), w = static_cast<T>(average_weight);
  T* average = item.average.defined() ? item.average.data<T>() : nullptr;
  auto* copy = item.copy.defined() ? static_cast<Eigen::bfloat16*>(item.copy.raw()) : nullptr;
  cpu_kernels::parallel_chunks(item.p.numel(), grain,
                               [&](std::int64_t, std::int64_t begin, std::int64_t end) {
#pragma omp simd
                                 for (std::int64_t i = begin; i < end; ++i) {
                                   const T gi = pg[i] * scale;
                                   const T mi = b1 * pm[i] + c1 * gi, vi = b2 * pv[i] + c2 * gi * gi;
                                   pm[i] = mi;
                                   pv[i] = vi;
                                   pp[i] = pp[i] * decay - step * (mi / (std::sqrt(vi) / root + eps));
                                 }
                                 if (average)
                                   for (std::int64_t i = begin; i < end; ++i)
                                     average[i] += w * (pp[i] - average[i]);
                                 if (copy)
                                   for (std::int64_t i = begin; i < end; ++i)
                                     copy[i] = static_cast<Eigen::bfloat16>(static_cast<float>(pp[i]));
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
