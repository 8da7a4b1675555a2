#include "tensor/ops/attention.h"

#include <cmath>

#include "tensor/cpu/attention/softmax_rows.h"
#include "tensor/cpu/matmul/eigen_product.h"
#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral {
namespace {

// One head as a small contiguous matrix [N, padded D]: rows are padded with zeros to a multiple of 8 numbers,
// so that products over D run in whole vector registers (33, the student's head size, is the worst case).
std::int64_t padded(std::int64_t d) { return (d + 7) / 8 * 8; }

struct HeadLayout {
  std::int64_t tokens, heads, size;  // N, H, D
  std::int64_t width() const { return heads * size; }
};

/// Copies head h of part (0 q, 1 k, 2 v) of one batch element, whose rows are `stride` numbers apart, times
/// `factor`.
template <class T, class C>
VITRAL_CLONES void load_head(C* to, const T* from, std::int64_t stride, HeadLayout l, C factor) {
  const std::int64_t dp = padded(l.size);
  for (std::int64_t n = 0; n < l.tokens; ++n) {
    for (std::int64_t d = 0; d < l.size; ++d)
      to[n * dp + d] = factor * cpu_kernels::load(from[n * stride + d]);
    for (std::int64_t d = l.size; d < dp; ++d) to[n * dp + d] = 0;
  }
}

template <class T, class C>
VITRAL_CLONES void store_head(T* to, std::int64_t stride, const C* from, HeadLayout l, C factor) {
  const std::int64_t dp = padded(l.size);
  for (std::int64_t n = 0; n < l.tokens; ++n)
    for (std::int64_t d = 0; d < l.size; ++d)
      cpu_kernels::store(to[n * stride + d], factor * from[n * dp + d]);
}

// Backward computes the weights again: the log-sum-exp is not needed.
void forward(Tensor& out, Tensor&, const Tensor& qkv, std::int64_t heads, bool causal) {
  const HeadLayout l{qkv.dim(1), heads, qkv.dim(2) / 3 / heads};
  cpu_kernels::dispatch_number("attention", qkv.dtype(), [&]<class T>(T) {
    using C = cpu_kernels::Compute<T>;
    const std::int64_t n = l.tokens, dp = padded(l.size), block = n * dp, stride = 3 * l.width();
    const C scale = C(1) / std::sqrt(static_cast<C>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads;
      C* q = cpu_kernels::scratch<C>(static_cast<std::size_t>(4 * block + n * n));
      C *k = q + block, *v = k + block, *o = v + block, *p = o + block;
      const T* from = cpu_kernels::elements<T>(qkv) + b * n * stride + h * l.size;
      load_head(q, from, stride, l, scale);
      load_head(k, from + l.width(), stride, l, C(1));
      load_head(v, from + 2 * l.width(), stride, l, C(1));
      cpu_kernels::multiply(p, q, k, {.m = n, .n = n, .k = dp, .transpose_b = true});
      cpu_kernels::softmax_rows(p, n, n, causal);
      cpu_kernels::multiply(o, p, v, {.m = n, .n = dp, .k = n});
      store_head(cpu_kernels::elements<T>(out) + b * n * l.width() + h * l.size, l.width(), o, l, C(1));
    });
  });
}

void backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor&, const Tensor&,
              std::int64_t heads, bool causal) {
  const HeadLayout l{qkv.dim(1), heads, qkv.dim(2) / 3 / heads};
  cpu_kernels::dispatch_number("attention_backward", qkv.dtype(), [&]<class T>(T) {
    using C = cpu_kernels::Compute<T>;
    const std::int64_t n = l.tokens, dp = padded(l.size), block = n * dp, stride = 3 * l.width();
    const C scale = C(1) / std::sqrt(static_cast<C>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads, at = b * n * stride + h * l.size;
      C* q = cpu_kernels::scratch<C>(static_cast<std::size_t>(5 * block + 2 * n * n));
      C *k = q + block, *v = k + block, *g = v + block, *d = g + block, *p = d + block, *ds = p + n * n;
      const T* from = cpu_kernels::elements<T>(qkv) + at;
      T* to = cpu_kernels::elements<T>(dqkv) + at;
      load_head(q, from, stride, l, scale);
      load_head(k, from + l.width(), stride, l, C(1));
      load_head(v, from + 2 * l.width(), stride, l, C(1));
      load_head(g, cpu_kernels::elements<T>(dout) + b * n * l.width() + h * l.size, l.width(), l, C(1));
      cpu_kernels::multiply(p, q, k, {.m = n, .n = n, .k = dp, .transpose_b = true});
      cpu_kernels::softmax_rows(p, n, n, causal);
      cpu_kernels::multiply(d, p, g, {.m = n, .n = dp, .k = n, .transpose_a = true});  // dv
      store_head(to + 2 * l.width(), stride, d, l, C(1));
      cpu_kernels::multiply(ds, g, v, {.m = n, .n = n, .k = dp, .transpose_b = true});  // dp
      cpu_kernels::softmax_rows_backward(ds, p, n, n, causal);
      cpu_kernels::multiply(d, ds, k, {.m = n, .n = dp, .k = n});
      store_head(to, stride, d, l, scale);
      // q carries the scale already
      cpu_kernels::multiply(d, ds, q, {.m = n, .n = dp, .k = n, .transpose_a = true});
      store_head(to + l.width(), stride, d, l, C(1));
    });
  });
}

const bool implemented = kernel::attention.implement(Device::Kind::cpu, forward) &&
                         kernel::attention_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
