// One head at a time, transposed: [D, positions], so that a vector register holds one dimension of
// neighbouring tokens and no sum runs across a register. Positions are the tokens of the grid, row after row,
// with `reach` empty ones after each row and a margin of empty ones around all: the neighbour at (dy, dx) is
// then always `shift` positions away, and every loop over tokens is straight. Empty positions hold zeros; a
// mask takes their weight away.
#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/attention.h"
#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral {
namespace {

using cpu_kernels::Compute;
using cpu_kernels::elements;
using cpu_kernels::load;
using cpu_kernels::store;

constexpr std::int64_t lanes = 16;
std::int64_t rounded(std::int64_t n) { return (n + lanes - 1) / lanes * lanes; }

struct Layout {
  Layout(TokenGrid token_grid, std::int64_t window, std::int64_t head_size)
      : grid(token_grid), size(head_size) {
    // A window wider than the grid sees no more than all of it.
    const std::int64_t reach = std::min(window / 2, std::max<std::int64_t>({grid.rows, grid.columns, 1}) - 1);
    stride = grid.columns + reach;
    for (std::int64_t dy = -reach; dy <= reach; ++dy)
      for (std::int64_t dx = -reach; dx <= reach; ++dx) {
        shifts.push_back(dy * stride + dx);
        for (std::int64_t r = 0; r < grid.rows; ++r)
          for (std::int64_t c = 0; c < stride; ++c)
            seen.push_back(c < grid.columns && r + dy >= 0 && r + dy < grid.rows && c + dx >= 0 &&
                           c + dx < grid.columns);
      }
    margin = rounded(reach * stride + reach);
    span = rounded(grid.rows * stride);
    length = span + 2 * margin;
  }

  TokenGrid grid;
  std::int64_t size;                  // D
  std::int64_t stride;                // positions from a token to the one below
  std::int64_t margin, span, length;  // of a row of positions: margin, span (computed), margin
  std::vector<std::int64_t> shifts;   // of the window's places; place o and count() - 1 - o are opposite
  std::vector<bool> seen;             // [count, rows * stride] whether there is a neighbour at that place
  std::int64_t count() const { return static_cast<std::int64_t>(shifts.size()); }
  std::int64_t head() const { return size * length; }
  std::int64_t places() const { return count() * length; }
};

// 0 where there is a neighbour, a number that leaves no weight where not: [count, span].
template <class C>
std::vector<C> make_mask(const Layout& l) {
  std::vector<C> mask(static_cast<std::size_t>(l.count() * l.span), C(-1e30));
  const std::int64_t used = l.grid.rows * l.stride;
  for (std::int64_t o = 0; o < l.count(); ++o)
    for (std::int64_t i = 0; i < used; ++i)
      if (l.seen[static_cast<std::size_t>(o * used + i)]) mask[static_cast<std::size_t>(o * l.span + i)] = 0;
  return mask;
}

// What the loops below read of a Layout: numbers in registers.
struct Positions {
  explicit Positions(const Layout& l)
      : rows(l.grid.rows),
        columns(l.grid.columns),
        size(l.size),
        stride(l.stride),
        margin(l.margin),
        span(l.span),
        length(l.length),
        count(l.count()),
        shifts(l.shifts.data()) {}
  std::int64_t rows, columns, size, stride, margin, span, length, count;
  const std::int64_t* shifts;
};

// Four tokens and four dimensions at a time, which the compiler transposes in registers.
template <class T>
VITRAL_INLINE void load_four(Compute<T>* to, const T* from) {
  for (int i = 0; i < 4; ++i) to[i] = load(from[i]);
}

template <class T>
VITRAL_INLINE void store_four(T* to, const Compute<T>* from) {
  for (int i = 0; i < 4; ++i) store(to[i], from[i]);
}

// Head h of q, k or v, whose tokens are `width` numbers apart, times factor. The heads that follow lie behind
// this one in each token, too far from the token before for the processor to fetch them by itself: the one
// after the next is asked for.
template <class T, class C>
VITRAL_CLONES void load_head(C* __restrict to, const T* __restrict from, std::int64_t width, Positions l,
                             C factor) {
  constexpr std::int64_t line = 64 / sizeof(T);
  std::fill(to, to + l.size * l.length, C(0));
  for (std::int64_t r = 0; r < l.rows; ++r) {
    std::int64_t c = 0;
    C* row = to + l.margin + r * l.stride;
    for (; c + 4 <= l.columns; c += 4, from += 4 * width) {
      for (int t = 0; t < 4; ++t)
        for (std::int64_t d = 2 * l.size; d < 3 * l.size; d += line)
          __builtin_prefetch(from + t * width + d, 0, 2);
      C* position = row + c;
      std::int64_t d = 0;
      for (; d + 4 <= l.size; d += 4) {
        C block[4][4];
        for (int t = 0; t < 4; ++t) load_four<T>(block[t], from + t * width + d);
        for (int k = 0; k < 4; ++k)
          for (int t = 0; t < 4; ++t) position[(d + k) * l.length + t] = factor * block[t][k];
      }
      for (; d < l.size; ++d)
        for (int t = 0; t < 4; ++t) position[d * l.length + t] = factor * load(from[t * width + d]);
    }
    for (; c < l.columns; ++c, from += width)
      for (std::int64_t d = 0; d < l.size; ++d) row[d * l.length + c] = factor * load(from[d]);
  }
}

// And back.
template <class T, class C>
VITRAL_CLONES void store_head(T* __restrict to, std::int64_t width, const C* __restrict from, Positions l,
                              C factor) {
  constexpr std::int64_t line = 64 / sizeof(T);
  for (std::int64_t r = 0; r < l.rows; ++r) {
    std::int64_t c = 0;
    const C* row = from + l.margin + r * l.stride;
    for (; c + 4 <= l.columns; c += 4, to += 4 * width) {
      for (int t = 0; t < 4; ++t)
        for (std::int64_t d = 2 * l.size; d < 3 * l.size; d += line)
          __builtin_prefetch(to + t * width + d, 1, 2);
      const C* position = row + c;
      std::int64_t d = 0;
      for (; d + 4 <= l.size; d += 4) {
        C block[4][4];
        for (int k = 0; k < 4; ++k)
          for (int t = 0; t < 4; ++t) block[t][k] = factor * position[(d + k) * l.length + t];
        for (int t = 0; t < 4; ++t) store_four<T>(to + t * width + d, block[t]);
      }
      for (; d < l.size; ++d)
        for (int t = 0; t < 4; ++t) store(to[t * width + d], factor * position[d * l.length + t]);
    }
    for (; c < l.columns; ++c, to += width)
      for (std::int64_t d = 0; d < l.size; ++d) store(to[d], factor * row[d * l.length + c]);
  }
}

// out[o] = sum_d a[d] b[d, shifted by o] for `places` neighbouring places at once: what is loaded of a serves
// all of them. Four dimensions a pass: the sums are read and written less often.
template <int places, class C>
VITRAL_INLINE void dot_places(C* __restrict out, const C* __restrict a, const C* __restrict b, std::int64_t o,
                              const Positions& l) {
  C* sums[places];
  const C *x = a + l.margin, *y[places];
  for (int k = 0; k < places; ++k) {
    sums[k] = out + (o + k) * l.length + l.margin;
    y[k] = b + l.margin + l.shifts[o + k];
#pragma omp simd
    for (std::int64_t i = 0; i < l.span; ++i) sums[k][i] = x[i] * y[k][i];
  }
  std::int64_t d = 1;
  for (; d + 4 <= l.size; d += 4) {
    const std::int64_t d0 = d * l.length, d1 = d0 + l.length, d2 = d1 + l.length, d3 = d2 + l.length;
#pragma omp simd
    for (std::int64_t i = 0; i < l.span; ++i) {
      const C x0 = x[d0 + i], x1 = x[d1 + i], x2 = x[d2 + i], x3 = x[d3 + i];
      for (int k = 0; k < places; ++k)
        sums[k][i] += (x0 * y[k][d0 + i] + x1 * y[k][d1 + i]) + (x2 * y[k][d2 + i] + x3 * y[k][d3 + i]);
    }
  }
  for (; d < l.size; ++d)
    for (int k = 0; k < places; ++k) {
#pragma omp simd
      for (std::int64_t i = 0; i < l.span; ++i) sums[k][i] += x[d * l.length + i] * y[k][d * l.length + i];
    }
}

template <class C>
VITRAL_CLONES void dots(C* __restrict out, const C* __restrict a, const C* __restrict b, Positions l) {
  std::int64_t o = 0;
  for (; o + 3 <= l.count; o += 3) dot_places<3>(out, a, b, o, l);
  for (; o < l.count; ++o) dot_places<1>(out, a, b, o, l);
}

// Of `dims` dimensions at once, of which each weight serves all: y[d] (+)= sum_o w[o] x[d, shifted by o].
template <int places, int dims, class C>
VITRAL_INLINE void add_places(C* __restrict y, const C* const* w, const C* const* x, std::int64_t length,
                              std::int64_t span, bool first) {
  if (first) {
#pragma omp simd
    for (std::int64_t i = 0; i < span; ++i)
      for (int d = 0; d < dims; ++d) {
        C sum = w[0][i] * x[0][d * length + i];
        for (int k = 1; k < places; ++k) sum += w[k][i] * x[k][d * length + i];
        y[d * length + i] = sum;
      }
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < span; ++i)
      for (int d = 0; d < dims; ++d) {
        C sum = w[0][i] * x[0][d * length + i];
        for (int k = 1; k < places; ++k) sum += w[k][i] * x[k][d * length + i];
        y[d * length + i] += sum;
      }
  }
}

// With `transposed`, the transpose: y[d] = sum_o (w[o] x[d]) shifted by minus o, which the opposite place
// turns into reading.
template <int dims, class C>
VITRAL_INLINE void weighted_dims(C* __restrict y, const C* __restrict w, const C* __restrict x,
                                 const Positions& l, bool transposed) {
  for (std::int64_t o = 0; o < l.count;) {
    const std::int64_t many = o + 9 <= l.count ? 9 : 1;
    const C *ws[9] = {}, *xs[9] = {};
    for (std::int64_t k = 0; k < many; ++k) {
      const std::int64_t shift = l.shifts[o + k];
      ws[k] = transposed ? w + (l.count - 1 - o - k) * l.length + l.margin + shift
                         : w + (o + k) * l.length + l.margin;
      xs[k] = x + l.margin + shift;
    }
    if (many == 9)
      add_places<9, dims>(y + l.margin, ws, xs, l.length, l.span, o == 0);
    else
      add_places<1, dims>(y + l.margin, ws, xs, l.length, l.span, o == 0);
    o += many;
  }
}

template <class C>
VITRAL_CLONES void weighted_sum(C* __restrict y, const C* __restrict w, const C* __restrict x, Positions l,
                                bool transposed) {
  std::int64_t d = 0;
  for (; d + 2 <= l.size; d += 2) weighted_dims<2>(y + d * l.length, w, x + d * l.length, l, transposed);
  for (; d < l.size; ++d) weighted_dims<1>(y + d * l.length, w, x + d * l.length, l, transposed);
}

// p[o] = softmax over the places of q . k + mask; q carries the scale.
template <class C>
VITRAL_CLONES void softmax_places(C* __restrict p, C* __restrict most, C* __restrict sum,
                                  const C* __restrict mask, Positions l) {
  for (std::int64_t o = 0; o < l.count; ++o) {
    C* score = p + o * l.length + l.margin;
    const C* masked = mask + o * l.span;
    for (std::int64_t i = 0; i < l.span; ++i) score[i] += masked[i];
    if (o == 0)
      for (std::int64_t i = 0; i < l.span; ++i) most[i] = score[i], sum[i] = 0;
    else
      for (std::int64_t i = 0; i < l.span; ++i) most[i] = most[i] < score[i] ? score[i] : most[i];
  }
  for (std::int64_t o = 0; o < l.count; ++o) {
    C* score = p + o * l.length + l.margin;
#pragma omp simd
    for (std::int64_t i = 0; i < l.span; ++i) {
      score[i] = cpu_kernels::exponential(score[i] - most[i]);
      sum[i] += score[i];
    }
  }
  for (std::int64_t i = 0; i < l.span; ++i) sum[i] = C(1) / sum[i];
  for (std::int64_t o = 0; o < l.count; ++o) {
    C* score = p + o * l.length + l.margin;
    for (std::int64_t i = 0; i < l.span; ++i) score[i] *= sum[i];
  }
}

// ds = p (dp - sum_o p dp), in place of dp.
template <class C>
VITRAL_CLONES void softmax_places_backward(C* __restrict dp, const C* __restrict p, C* __restrict mean,
                                           Positions l) {
  std::fill(mean, mean + l.span, C(0));
  for (std::int64_t o = 0; o < l.count; ++o) {
    const C *weight = p + o * l.length + l.margin, *slope = dp + o * l.length + l.margin;
    for (std::int64_t i = 0; i < l.span; ++i) mean[i] += weight[i] * slope[i];
  }
  for (std::int64_t o = 0; o < l.count; ++o) {
    const C* weight = p + o * l.length + l.margin;
    C* slope = dp + o * l.length + l.margin;
    for (std::int64_t i = 0; i < l.span; ++i) slope[i] = weight[i] * (slope[i] - mean[i]);
  }
}

void forward(Tensor& out, const Tensor& qkv, std::int64_t heads, TokenGrid grid, std::int64_t window) {
  const std::int64_t n = qkv.dim(1), width = qkv.dim(2) / 3;
  const Layout l(grid, window, width / heads);
  const Positions at(l);
  cpu_kernels::dispatch_number("neighbourhood_attention", qkv.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    const std::vector<C> mask = make_mask<C>(l);
    const C scale = C(1) / std::sqrt(static_cast<C>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads;
      C* q = cpu_kernels::scratch<C>(static_cast<std::size_t>(4 * l.head() + l.places() + 2 * l.span));
      C *k = q + l.head(), *v = k + l.head(), *o = v + l.head(), *p = o + l.head(), *most = p + l.places();
      const T* from = elements<T>(qkv) + b * n * 3 * width + h * l.size;
      load_head(q, from, 3 * width, at, scale);
      load_head(k, from + width, 3 * width, at, C(1));
      load_head(v, from + 2 * width, 3 * width, at, C(1));
      dots(p, q, k, at);
      softmax_places(p, most, most + l.span, mask.data(), at);
      weighted_sum(o, p, v, at, false);
      store_head(elements<T>(out) + b * n * width + h * l.size, width, o, at, C(1));
    });
  });
}

void backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, std::int64_t heads, TokenGrid grid,
              std::int64_t window) {
  const std::int64_t n = qkv.dim(1), width = qkv.dim(2) / 3;
  const Layout l(grid, window, width / heads);
  const Positions at(l);
  cpu_kernels::dispatch_number("neighbourhood_attention_backward", qkv.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    const std::vector<C> mask = make_mask<C>(l);
    const C scale = C(1) / std::sqrt(static_cast<C>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads, first = b * n * 3 * width + h * l.size;
      C* q = cpu_kernels::scratch<C>(static_cast<std::size_t>(5 * l.head() + 2 * l.places() + 2 * l.span));
      C *k = q + l.head(), *v = k + l.head(), *g = v + l.head(), *d = g + l.head(), *p = d + l.head(),
        *ds = p + l.places(), *most = ds + l.places();
      const T* from = elements<T>(qkv) + first;
      T* to = elements<T>(dqkv) + first;
      load_head(q, from, 3 * width, at, scale);
      load_head(k, from + width, 3 * width, at, C(1));
      load_head(v, from + 2 * width, 3 * width, at, C(1));
      load_head(g, elements<T>(dout) + b * n * width + h * l.size, width, at, C(1));
      std::fill(p, p + 2 * l.places(), C(0));  // the margins are read
      dots(p, q, k, at);
      softmax_places(p, most, most + l.span, mask.data(), at);
      weighted_sum(d, p, g, at, true);
      store_head(to + 2 * width, 3 * width, d, at, C(1));
      dots(ds, g, v, at);
      softmax_places_backward(ds, p, most, at);
      weighted_sum(d, ds, k, at, false);
      store_head(to, 3 * width, d, at, scale);
      weighted_sum(d, ds, q, at, true);  // q carried the scale already
      store_head(to + width, 3 * width, d, at, C(1));
    });
  });
}

const bool implemented = kernel::neighbourhood_attention.implement(Device::Kind::cpu, forward) &&
                         kernel::neighbourhood_attention_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
