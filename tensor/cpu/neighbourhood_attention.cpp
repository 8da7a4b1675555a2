#include <cmath>

#include "tensor/attention.h"
#include "tensor/cpu/attention_heads.h"
#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

using cpu_kernels::HeadLayout;
using cpu_kernels::load_head;
using cpu_kernels::padded;
using cpu_kernels::store_head;

// The neighbours of all tokens, one list after the other: those of token i are list[first[i]] .. list[first[i
// + 1]].
struct Neighbours {
  std::vector<std::int32_t> list, first{0};
};

Neighbours find_neighbours(TokenGrid grid, std::int64_t window) {
  Neighbours out;
  const std::int64_t reach = window / 2;
  for (std::int64_t r = 0; r < grid.rows; ++r)
    for (std::int64_t c = 0; c < grid.columns; ++c) {
      for (std::int64_t y = std::max<std::int64_t>(0, r - reach); y <= std::min(grid.rows - 1, r + reach);
           ++y)
        for (std::int64_t x = std::max<std::int64_t>(0, c - reach);
             x <= std::min(grid.columns - 1, c + reach); ++x)
          out.list.push_back(static_cast<std::int32_t>(y * grid.columns + x));
      out.first.push_back(static_cast<std::int32_t>(out.list.size()));
    }
  return out;
}

// dp is a multiple of 8: the compiler makes whole vector registers of these loops.
template <class T>
T dot(const T* a, const T* b, std::int64_t dp) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t d = 0; d < dp; ++d) sum += a[d] * b[d];
  return sum;
}

template <class T>
void add_scaled(T* y, T factor, const T* x, std::int64_t dp) {
#pragma omp simd
  for (std::int64_t d = 0; d < dp; ++d) y[d] += factor * x[d];
}

// p[t] = softmax over the neighbours of q . k; q carries the scale.
template <class T>
void weights(T* p, const T* q, const T* k, const std::int32_t* list, std::int64_t count, std::int64_t dp) {
  T most = -std::numeric_limits<T>::infinity(), sum = 0;
  for (std::int64_t t = 0; t < count; ++t) most = std::max(most, p[t] = dot(q, k + list[t] * dp, dp));
  for (std::int64_t t = 0; t < count; ++t) sum += p[t] = std::exp(p[t] - most);
  for (std::int64_t t = 0; t < count; ++t) p[t] /= sum;
}

void forward(Tensor& out, const Tensor& qkv, std::int64_t heads, TokenGrid grid, std::int64_t window) {
  const HeadLayout l{qkv.dim(1), heads, qkv.dim(2) / 3 / heads};
  const Neighbours near = find_neighbours(grid, window);
  dispatch_float("neighbourhood_attention", qkv.dtype(), [&]<class T>(T) {
    const std::int64_t n = l.tokens, dp = padded(l.size), block = n * dp, stride = 3 * l.width();
    const T scale = T(1) / std::sqrt(static_cast<T>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads;
      T* q = cpu_kernels::scratch<T>(static_cast<std::size_t>(4 * block + window * window));
      T *k = q + block, *v = k + block, *o = v + block, *p = o + block;
      const T* from = qkv.data<T>() + b * n * stride + h * l.size;
      load_head(q, from, stride, l, scale);
      load_head(k, from + l.width(), stride, l);
      load_head(v, from + 2 * l.width(), stride, l);
      std::fill(o, o + block, T(0));
      for (std::int64_t t = 0; t < n; ++t) {
        const auto first = static_cast<std::size_t>(t);
        const std::int32_t* list = near.list.data() + near.first[first];
        const std::int64_t count = near.first[first + 1] - near.first[first];
        weights(p, q + t * dp, k, list, count, dp);
        for (std::int64_t j = 0; j < count; ++j) add_scaled(o + t * dp, p[j], v + list[j] * dp, dp);
      }
      store_head(out.data<T>() + b * n * l.width() + h * l.size, l.width(), o, l);
    });
  });
}

void backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, std::int64_t heads, TokenGrid grid,
              std::int64_t window) {
  const HeadLayout l{qkv.dim(1), heads, qkv.dim(2) / 3 / heads};
  const Neighbours near = find_neighbours(grid, window);
  dispatch_float("neighbourhood_attention_backward", qkv.dtype(), [&]<class T>(T) {
    const std::int64_t n = l.tokens, dp = padded(l.size), block = n * dp, stride = 3 * l.width();
    const T scale = T(1) / std::sqrt(static_cast<T>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads, at = b * n * stride + h * l.size;
      T* q = cpu_kernels::scratch<T>(static_cast<std::size_t>(7 * block + 2 * window * window));
      T *k = q + block, *v = k + block, *g = v + block, *dq = g + block, *dk = dq + block, *dv = dk + block;
      T *p = dv + block, *dweight = p + window * window;
      const T* from = qkv.data<T>() + at;
      T* to = dqkv.data<T>() + at;
      load_head(q, from, stride, l, scale);
      load_head(k, from + l.width(), stride, l);
      load_head(v, from + 2 * l.width(), stride, l);
      load_head(g, dout.data<T>() + b * n * l.width() + h * l.size, l.width(), l);
      std::fill(dq, dq + 3 * block, T(0));
      for (std::int64_t t = 0; t < n; ++t) {
        const auto first = static_cast<std::size_t>(t);
        const std::int32_t* list = near.list.data() + near.first[first];
        const std::int64_t count = near.first[first + 1] - near.first[first];
        weights(p, q + t * dp, k, list, count, dp);
        T mean = 0;
        for (std::int64_t j = 0; j < count; ++j)
          mean += p[j] * (dweight[j] = dot(g + t * dp, v + list[j] * dp, dp));
        for (std::int64_t j = 0; j < count; ++j) {
          const T ds = p[j] * (dweight[j] - mean);
          add_scaled(dv + list[j] * dp, p[j], g + t * dp, dp);
          add_scaled(dq + t * dp, ds, k + list[j] * dp, dp);
          add_scaled(dk + list[j] * dp, ds, q + t * dp, dp);
        }
      }
      store_head(to, stride, dq, l, scale);
      store_head(to + l.width(), stride, dk, l);  // q carried the scale already
      store_head(to + 2 * l.width(), stride, dv, l);
    });
  });
}

const bool implemented = kernel::neighbourhood_attention.implement(Device::Kind::cpu, forward) &&
                         kernel::neighbourhood_attention_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
