#include "tensor/adamw.h"

#include <cmath>

#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

constexpr std::int64_t grain = 65536;

void adamw(Tensor& p, Tensor& m, Tensor& v, const Tensor& g, AdamWOptions o, std::int64_t t,
           double gradient_scale) {
  const double step_size = o.lr / (1 - std::pow(o.beta1, static_cast<double>(t)));
  const double root_correction = std::sqrt(1 - std::pow(o.beta2, static_cast<double>(t)));
  dispatch_float("adamw", p.dtype(), [&]<class T>(T) {
    T *pp = p.data<T>(), *pm = m.data<T>(), *pv = v.data<T>();
    const T* pg = g.data<T>();
    const T decay = static_cast<T>(1 - o.lr * o.weight_decay), b1 = static_cast<T>(o.beta1),
            b2 = static_cast<T>(o.beta2);
    const T c1 = static_cast<T>(1 - o.beta1), c2 = static_cast<T>(1 - o.beta2), eps = static_cast<T>(o.eps);
    const T step = static_cast<T>(step_size), root = static_cast<T>(root_correction),
            scale = static_cast<T>(gradient_scale);
    cpu_kernels::parallel_chunks(p.numel(), grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        const T gi = pg[i] * scale;
        const T mi = b1 * pm[i] + c1 * gi, vi = b2 * pv[i] + c2 * gi * gi;
        pm[i] = mi;
        pv[i] = vi;
        pp[i] = pp[i] * decay - step * (mi / (std::sqrt(vi) / root + eps));
      }
    });
  });
}

void lerp(Tensor& y, const Tensor& x, double weight) {
  dispatch_float("lerp", y.dtype(), [&]<class T>(T) {
    T* out = y.data<T>();
    const T *in = x.data<T>(), w = static_cast<T>(weight);
    cpu_kernels::parallel_chunks(y.numel(), grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] += w * (in[i] - out[i]);
    });
  });
}

const bool implemented =
    kernel::adamw.implement(Device::Kind::cpu, adamw) && kernel::lerp.implement(Device::Kind::cpu, lerp);

}  // namespace
}  // namespace vitral
