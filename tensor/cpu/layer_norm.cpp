#include "tensor/ops/layer_norm.h"

#include <algorithm>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

// What layer_norm and rms_norm share is written once: `centred` (layer_norm) is with mean and bias.

namespace vitral {
namespace {

using cpu_kernels::load;
using cpu_kernels::store;

// Null where there is none: mean and bias of rms_norm.
template <class T>
T* elements(const Tensor& t) {
  return t.defined() ? cpu_kernels::elements<T>(t) : nullptr;
}

constexpr std::int64_t rows_a_chunk = 32;
// Long rows are summed in pieces, whose sums are added: few roundings in a row, also without vectors. Of what
// rms_norm sums up no mean was taken away, so its pieces are shorter.
template <bool centred>
constexpr std::int64_t piece = centred ? 1024 : 128;

// Written once, so that backward's recomputation gives the same bits.
template <bool centred, class T, class P>
VITRAL_INLINE void apply_row(T* y, const T* x, const P* weight, const P* bias, const P* mean, P rstd,
                             std::int64_t width) {
  using C = cpu_kernels::Compute<T>;
  const C s = load(rstd);
  if constexpr (centred) {
    const C m = load(*mean);
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i)
      store(y[i], (load(x[i]) - m) * s * load(weight[i]) + load(bias[i]));
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) store(y[i], load(x[i]) * s * load(weight[i]));
  }
}

template <class T, class P>
struct ForwardRows {
  T* y;
  P *mean, *rstd;
  const T* x;
  const P *weight, *bias;
  double eps;
  std::int64_t width;
};

// 1 / sqrt(...) of a row, and with `centred` its mean.
template <bool centred, class T, class P, class C>
VITRAL_INLINE void row_statistics(const T* x, P* mean, P* rstd, std::int64_t width, C eps) {
  const C n = static_cast<C>(width);
  C near = 0;
  if constexpr (centred) {
    C sum = 0;
    for (std::int64_t i = 0; i < width; i += piece<centred>) {
      const std::int64_t last = std::min(i + piece<centred>, width);
      C part = 0;
#pragma omp simd reduction(+ : part)
      for (std::int64_t k = i; k < last; ++k) part += load(x[k]);
      sum += part;
    }
    near = sum / n;
  }
  // Differences to a mean that is right but for its rounding, which rstd would magnify where a row hardly
  // varies: what they still have of a mean is taken away.
  C rest = 0, squares = 0;
  for (std::int64_t i = 0; i < width; i += piece<centred>) {
    const std::int64_t last = std::min(i + piece<centred>, width);
    C part = 0, part_squares = 0;
#pragma omp simd reduction(+ : part, part_squares)
    for (std::int64_t k = i; k < last; ++k) {
      const C d = load(x[k]) - near;
      part += d;
      part_squares += d * d;
    }
    rest += part;
    squares += part_squares;
  }
  C variance = squares / n;
  if constexpr (centred) {
    variance = std::max(variance - (rest / n) * (rest / n), C(0));
    store(*mean, near + rest / n);
  }
  store(*rstd, C(1) / std::sqrt(variance + eps));
}

template <bool centred, class T, class P>
VITRAL_CLONES void forward_rows(ForwardRows<T, P> a, std::int64_t begin, std::int64_t end) {
  using C = cpu_kernels::Compute<T>;
  for (std::int64_t r = begin; r < end; ++r) {
    const T* x = a.x + r * a.width;
    P* mean = centred ? a.mean + r : nullptr;
    row_statistics<centred>(x, mean, a.rstd + r, a.width, static_cast<C>(a.eps));
    apply_row<centred>(a.y + r * a.width, x, a.weight, a.bias, mean, a.rstd[r], a.width);
  }
}

template <bool centred>
void forward(Tensor& y, const RowStatistics& rows, const Tensor& x, const Tensor& weight, const Tensor& bias,
             double eps) {
  cpu_kernels::dispatch_with_weights(
      centred ? "layer_norm" : "rms_norm", x, weight, [&]<class T, class P>(T, P) {
        const ForwardRows<T, P> a{elements<T>(y),
                                  elements<P>(rows.mean),
                                  elements<P>(rows.rstd),
                                  elements<T>(x),
                                  elements<P>(weight),
                                  elements<P>(bias),
                                  eps,
                                  weight.numel()};
        cpu_kernels::parallel_chunks(rows.rstd.numel(), rows_a_chunk,
                                     [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                                       forward_rows<centred, T, P>(a, begin, end);
                                     });
      });
}

template <class T, class D>
VITRAL_CLONES void add_row(T* sum, const T* x, const D* delta, std::int64_t width) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) store(sum[i], load(x[i]) + load(delta[i]));
}

template <bool centred>
void add_forward(Tensor& sum, Tensor& y, const RowStatistics& rows, const Tensor& x, const Tensor& delta,
                 const Tensor& weight, const Tensor& bias, double eps) {
  cpu_kernels::dispatch_with_weights(
      centred ? "add_layer_norm" : "add_rms_norm", x, weight, [&]<class T, class P>(T, P) {
        const std::int64_t width = weight.numel(), period = delta.dim(0);
        const ForwardRows<T, P> a{elements<T>(y),
                                  elements<P>(rows.mean),
                                  elements<P>(rows.rstd),
                                  elements<T>(sum),
                                  elements<P>(weight),
                                  elements<P>(bias),
                                  eps,
                                  width};
        const auto run = [&]<class D>(D) {
          cpu_kernels::parallel_chunks(
              rows.rstd.numel(), rows_a_chunk, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                for (std::int64_t r = begin; r < end; ++r) {
                  add_row<T, D>(elements<T>(sum) + r * width, elements<T>(x) + r * width,
                                elements<D>(delta) + r % period * width, width);
                  forward_rows<centred, T, P>(a, r, r + 1);
                }
              });
        };
        if (delta.dtype() == x.dtype())
          run(T{});
        else
          run(P{});
      });
}

template <bool centred, class T, class P>
VITRAL_CLONES void apply_rows(T* y, const T* x, const P* weight, const P* bias, const P* mean, const P* rstd,
                              std::int64_t width, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r)
    apply_row<centred>(y + r * width, x + r * width, weight, bias, centred ? mean + r : nullptr, rstd[r],
                       width);
}

template <bool centred>
void apply(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias, const RowStatistics& rows) {
  cpu_kernels::dispatch_with_weights(
      centred ? "layer_norm_apply" : "rms_norm_apply", x, weight, [&]<class T, class P>(T, P) {
        cpu_kernels::parallel_chunks(
            rows.rstd.numel(), rows_a_chunk, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
              apply_rows<centred, T, P>(elements<T>(y), elements<T>(x), elements<P>(weight),
                                        elements<P>(bias), elements<P>(rows.mean), elements<P>(rows.rstd),
                                        weight.numel(), begin, end);
            });
      });
}

template <class T, class P>
struct BackwardRows {
  T* dx;
  const T *dy, *x;
  const P *weight, *mean, *rstd;
  std::int64_t width;
  bool add;  // to what dx holds
};

// Rows of sums: for dweight and, with `centred`, for dbias.
template <bool centred>
constexpr std::int64_t sum_rows = centred ? 2 : 1;

// sums: those over these rows of dy xhat, and of dy, [sum_rows,W].
template <bool centred, class T, class P>
VITRAL_CLONES void backward_rows(BackwardRows<T, P> a, cpu_kernels::Compute<T>* sums, std::int64_t begin,
                                 std::int64_t end) {
  using C = cpu_kernels::Compute<T>;
  C *sum_w = sums, *sum_b = sums + (sum_rows<centred> - 1) * a.width;
  std::fill(sums, sums + sum_rows<centred> * a.width, C(0));
  for (std::int64_t r = begin; r < end; ++r) {
    const T *x = a.x + r * a.width, *dy = a.dy + r * a.width;
    T* dx = a.dx + r * a.width;
    C m = 0;
    if constexpr (centred) m = load(a.mean[r]);
    const C s = load(a.rstd[r]);
    C mean_g = 0, mean_gx = 0;
    for (std::int64_t k = 0; k < a.width; k += piece<centred>) {
      const std::int64_t last = std::min(k + piece<centred>, a.width);
      C part = 0, part_x = 0;
#pragma omp simd reduction(+ : part, part_x)
      for (std::int64_t i = k; i < last; ++i) {
        const C xhat = (load(x[i]) - m) * s, g = load(dy[i]), gw = g * load(a.weight[i]);
        sum_w[i] += g * xhat;
        if constexpr (centred) {
          sum_b[i] += g;
          part += gw;
        }
        part_x += gw * xhat;
      }
      mean_g += part;
      mean_gx += part_x;
    }
    mean_g /= static_cast<C>(a.width);
    mean_gx /= static_cast<C>(a.width);
    if (a.add) {
#pragma omp simd
      for (std::int64_t i = 0; i < a.width; ++i)
        store(dx[i],
              load(dx[i]) + s * (load(dy[i]) * load(a.weight[i]) - mean_g - (load(x[i]) - m) * s * mean_gx));
    } else {
#pragma omp simd
      for (std::int64_t i = 0; i < a.width; ++i)
        store(dx[i], s * (load(dy[i]) * load(a.weight[i]) - mean_g - (load(x[i]) - m) * s * mean_gx));
    }
  }
}

// Adds the sums of all chunks to those of the first, in order.
template <class C>
VITRAL_CLONES void sum_chunks(C* parts, std::int64_t chunks, std::int64_t numbers) {
  for (std::int64_t c = 1; c < chunks; ++c)
    for (std::int64_t i = 0; i < numbers; ++i) parts[i] += parts[c * numbers + i];
}

template <bool centred>
void backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x,
              const Tensor& weight, const RowStatistics& statistics, bool add) {
  const std::int64_t width = weight.numel(), rows = statistics.rstd.numel();
  constexpr std::int64_t sums = sum_rows<centred>;
  const char* operation = centred ? "layer_norm_backward" : "rms_norm_backward";
  cpu_kernels::dispatch_with_weights(operation, x, weight, [&]<class T, class P>(T, P) {
    using C = cpu_kernels::Compute<T>;
    const std::int64_t chunks = cpu_kernels::chunk_count(rows, rows_a_chunk);
    Tensor partial({std::max<std::int64_t>(1, chunks), sums, width}, dtype_of<C>);
    const BackwardRows<T, P> a{.dx = elements<T>(dx),
                               .dy = elements<T>(dy),
                               .x = elements<T>(x),
                               .weight = elements<P>(weight),
                               .mean = elements<P>(statistics.mean),
                               .rstd = elements<P>(statistics.rstd),
                               .width = width,
                               .add = add};
    C* parts = partial.data<C>();
    cpu_kernels::parallel_chunks(rows, rows_a_chunk,
                                 [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
                                   backward_rows<centred, T, P>(a, parts + chunk * sums * width, begin, end);
                                 });
    if (chunks == 0) std::fill_n(parts, sums * width, C(0));
    sum_chunks(parts, chunks, sums * width);
    for (std::int64_t i = 0; i < width; ++i) {
      store(elements<P>(dweight)[i], parts[i]);
      if constexpr (centred) store(elements<P>(dbias)[i], parts[width + i]);
    }
  });
}

const bool implemented = kernel::layer_norm.implement(Device::Kind::cpu, forward<true>) &&
                         kernel::rms_norm.implement(Device::Kind::cpu, forward<false>) &&
                         kernel::add_layer_norm.implement(Device::Kind::cpu, add_forward<true>) &&
                         kernel::add_rms_norm.implement(Device::Kind::cpu, add_forward<false>) &&
                         kernel::layer_norm_apply.implement(Device::Kind::cpu, apply<true>) &&
                         kernel::rms_norm_apply.implement(Device::Kind::cpu, apply<false>) &&
                         kernel::layer_norm_backward.implement(Device::Kind::cpu, backward<true>) &&
                         kernel::rms_norm_backward.implement(Device::Kind::cpu, backward<false>);

}  // namespace
}  // namespace vitral
