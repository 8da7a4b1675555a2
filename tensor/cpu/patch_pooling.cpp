#include "tensor/ops/patch_pooling.h"

#include <algorithm>
#include <cmath>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral {
namespace {

using cpu_kernels::Compute;
using cpu_kernels::elements;
using cpu_kernels::load;
using cpu_kernels::store;

struct Sizes {
  std::int64_t tokens, heads, size;                        // N, H, D
  std::int64_t width() const { return heads * size; }      // W
  std::int64_t row() const { return heads * (size + 1); }  // of x
};

// The features of a token without the logits in between, [W]; -> the mean of these.
template <class T, class C>
VITRAL_CLONES C split_token(C* __restrict features, const T* __restrict x, Sizes s) {
  C logit = 0;
  for (std::int64_t h = 0; h < s.heads; ++h) {
    const T* head = x + h * (s.size + 1);
    for (std::int64_t d = 0; d < s.size; ++d) features[h * s.size + d] = load(head[d]);
    logit += load(head[s.size]);
  }
  return logit / static_cast<C>(s.heads);
}

template <class C>
VITRAL_CLONES C dot(const C* a, const C* b, std::int64_t n) {
  C sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class C>
VITRAL_CLONES void add_multiple(C* __restrict y, const C* __restrict x, C factor, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

template <class C>
void softmax(C* p, std::int64_t n, C temperature) {
  const C maximum = *std::max_element(p, p + n);
  C sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += p[i] = std::exp((p[i] - maximum) / temperature);
  for (std::int64_t i = 0; i < n; ++i) p[i] /= sum;
}

// min(scale, 10) / |r|, or 1 without a scale.
template <class C>
C factor_of(const C* features, const Tensor& scale, std::int64_t width) {
  if (!scale.defined()) return 1;
  return std::min(*scale.data<C>(), C(10)) / std::sqrt(dot(features, features, width));
}

void forward(Tensor& embedding, Tensor& probs, Tensor& patches, const Tensor& x, const Tensor& scale,
             std::int64_t heads, double temperature) {
  const Sizes s{x.dim(1), heads, x.dim(2) / heads - 1};
  cpu_kernels::dispatch_number("patch_pooling", x.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    const std::int64_t w = s.width();
    cpu_kernels::parallel_chunks(x.dim(0), 1, [&](std::int64_t b, std::int64_t, std::int64_t) {
      C* features = cpu_kernels::scratch<C>(static_cast<std::size_t>(s.tokens * w));  // [N,W]
      C *p = probs.data<C>() + b * s.tokens, *out = embedding.data<C>() + b * w;
      const T* in = elements<T>(x) + b * s.tokens * s.row();
      for (std::int64_t n = 0; n < s.tokens; ++n) p[n] = split_token(features + n * w, in + n * s.row(), s);
      softmax(p, s.tokens, static_cast<C>(temperature));
      std::fill(out, out + w, C(0));
      for (std::int64_t n = 0; n < s.tokens; ++n) {
        const C f = factor_of(features + n * w, scale, w);
        add_multiple(out, features + n * w, p[n] * f, w);
        if (!patches.defined()) continue;
        const auto write = [&]<class Y>(Y* to) {
          for (std::int64_t i = 0; i < w; ++i) store(to[i], f * features[n * w + i]);
        };
        const std::int64_t at = (b * s.tokens + n) * w;
        if (patches.dtype() == x.dtype())
          write(elements<T>(patches) + at);
        else
          write(patches.data<C>() + at);
      }
    });
  });
}

// One image. -> its part of dscale.
template <class T, class C>
C backward_image(T* dx, const C* g, const T* x, const Tensor& scale, const C* p, Sizes s, C temperature) {
  const std::int64_t w = s.width();
  C* r = cpu_kernels::scratch<C>(static_cast<std::size_t>(s.tokens * w + 3 * s.tokens));
  C *rg = r + s.tokens * w, *length = rg + s.tokens, *dp = length + s.tokens;  // of each token
  const C f = scale.defined() ? std::min(*scale.data<C>(), C(10)) : C(1);
  C mean = 0, dscale = 0;
  for (std::int64_t n = 0; n < s.tokens; ++n) {
    C* features = r + n * w;
    split_token(features, x + n * s.row(), s);
    rg[n] = dot(features, g, w);
    length[n] = scale.defined() ? std::sqrt(dot(features, features, w)) : C(1);
    dp[n] = f * rg[n] / length[n];
    mean += p[n] * dp[n];
    dscale += p[n] * rg[n] / length[n];
  }
  for (std::int64_t n = 0; n < s.tokens; ++n) {
    const C dlogit = p[n] * (dp[n] - mean) / temperature / static_cast<C>(s.heads);
    // dr = f p (g - u (u . g)) / |r| with u = r / |r|
    const C along = f * p[n] / length[n],
            back = scale.defined() ? along * rg[n] / (length[n] * length[n]) : C(0);
    const C* features = r + n * w;
    for (std::int64_t h = 0; h < s.heads; ++h) {
      T* to = dx + n * s.row() + h * (s.size + 1);
      for (std::int64_t d = 0; d < s.size; ++d)
        store(to[d], along * g[h * s.size + d] - back * features[h * s.size + d]);
      store(to[s.size], dlogit);
    }
  }
  return dscale;
}

void backward(Tensor& dx, Tensor& dscale, const Tensor& dembedding, const Tensor& x, const Tensor& scale,
              const Tensor& probs, std::int64_t heads, double temperature) {
  const Sizes s{x.dim(1), heads, x.dim(2) / heads - 1};
  cpu_kernels::dispatch_number("patch_pooling_backward", x.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    Tensor parts({std::max<std::int64_t>(1, x.dim(0))}, dtype_of<C>);
    cpu_kernels::parallel_chunks(x.dim(0), 1, [&](std::int64_t b, std::int64_t, std::int64_t) {
      const std::int64_t at = b * s.tokens * s.row();
      parts.data<C>()[b] =
          backward_image(elements<T>(dx) + at, dembedding.data<C>() + b * s.width(), elements<T>(x) + at,
                         scale, probs.data<C>() + b * s.tokens, s, static_cast<C>(temperature));
    });
    if (!dscale.defined()) return;
    C sum = 0;
    for (std::int64_t b = 0; b < x.dim(0); ++b) sum += parts.data<C>()[b];
    *dscale.data<C>() = *scale.data<C>() <= C(10) ? sum : C(0);
  });
}

const bool implemented = kernel::patch_pooling.implement(Device::Kind::cpu, forward) &&
                         kernel::patch_pooling_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
