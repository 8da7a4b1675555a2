// One head at a time, transposed, so that a vector register holds one dimension of neighbouring tokens and no
// sum runs across a register: [rows, D, pitch], a row of the grid in each. Zeros lie around it: `reach` rows
// above and below, and so many columns left and right that the neighbours at (dy, dx) are always one distance
// away and rarely in another line of the cache. Weights of the window's places are [places, span], without
// what is empty, except where a neighbour's weight is wanted. A mask takes the weight of places outside.
#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"
#include "tensor/cpu/vector.h"
#include "tensor/ops/attention.h"

namespace vitral {
namespace {

using cpu_kernels::Compute;
using cpu_kernels::elements;
using cpu_kernels::lanes;
using cpu_kernels::load;
using cpu_kernels::load_vector;
using cpu_kernels::store;
using cpu_kernels::store_vector;
using cpu_kernels::Vector;

std::int64_t rounded(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

struct Layout {
  Layout(TokenGrid token_grid, std::int64_t window, std::int64_t head_size)
      : grid(token_grid), size(head_size) {
    // A window wider than the grid sees no more than all of it.
    reach = std::min(window / 2, std::max<std::int64_t>({grid.rows, grid.columns, 1}) - 1);
    width = rounded(grid.columns, lanes);
    span = grid.rows * width;
    pitch = rounded(width + 2 * reach, 16);
    left = (pitch - width) / 2;
    places = (2 * reach + 1) * (2 * reach + 1);
    for (std::int64_t dy = -reach; dy <= reach; ++dy)
      for (std::int64_t dx = -reach; dx <= reach; ++dx) {
        shifts.push_back(dy * size * pitch + dx);
        opposite.push_back((dy * places + places - 1 - static_cast<std::int64_t>(opposite.size())) * pitch +
                           dx);
        compact.push_back(static_cast<std::int64_t>(compact.size()) * span);
      }
  }

  TokenGrid grid;
  std::int64_t size;           // D
  std::int64_t reach, places;  // of the window
  std::int64_t width, span;    // columns in whole vectors; of all rows
  std::int64_t pitch, left;    // of a row with zeros beside it, `left` of them before it
  // From a token to its neighbour at a place, in [rows, D, pitch]; to its own weight of the place, in
  // [places, span]; to the neighbour's weight of the opposite place, in [rows, places, pitch].
  std::vector<std::int64_t> shifts, compact, opposite;
  // Numbers of [rows, numbers, pitch] with the zeros around it.
  std::int64_t around(std::int64_t numbers) const { return (grid.rows + 2 * reach) * numbers * pitch; }
};

// 0 where there is a neighbour, a number that leaves no weight where not: [places, span].
template <class C>
std::vector<C> make_mask(const Layout& l) {
  std::vector<C> mask(static_cast<std::size_t>(l.places * l.span), C(-1e30));
  std::size_t o = 0;
  for (std::int64_t dy = -l.reach; dy <= l.reach; ++dy)
    for (std::int64_t dx = -l.reach; dx <= l.reach; ++dx, ++o)
      for (std::int64_t r = std::max<std::int64_t>(0, -dy); r < std::min(l.grid.rows, l.grid.rows - dy); ++r)
        for (std::int64_t c = std::max<std::int64_t>(0, -dx);
             c < std::min(l.grid.columns, l.grid.columns - dx); ++c)
          mask[o * static_cast<std::size_t>(l.span) + static_cast<std::size_t>(r * l.width + c)] = 0;
  return mask;
}

// Where a sum finds the weights of the window's places.
struct Weights {
  std::int64_t first, row;      // to those of token (0, 0), and from a row of the grid to the next
  const std::int64_t* offsets;  // from a token to its weight of a place
};

// What the loops below read of a Layout: numbers in registers.
struct Positions {
  explicit Positions(const Layout& l)
      : rows(l.grid.rows),
        columns(l.grid.columns),
        size(l.size),
        places(l.places),
        width(l.width),
        span(l.span),
        pitch(l.pitch),
        first(l.reach * l.size * l.pitch + l.left),
        shifts(l.shifts.data()),
        own{0, l.width, l.compact.data()},
        opposite{l.reach * l.places * l.pitch + l.left, l.places * l.pitch, l.opposite.data()} {}
  std::int64_t rows, columns, size, places, width, span, pitch;
  std::int64_t first;  // to token (0, 0), in [rows, D, pitch] with zeros around it
  const std::int64_t* shifts;
  Weights own, opposite;
};

// The heads that follow lie behind this one in each token, too far from the token before for the processor to
// fetch them by itself: the one after the next is asked for, to be read (0) or written (1).
template <int access, class T>
VITRAL_INLINE void ask_ahead(const T* head, std::int64_t tokens, std::int64_t apart, std::int64_t size) {
  constexpr std::int64_t line = 64 / sizeof(T);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t d = 2 * size; d < 3 * size; d += line)
      __builtin_prefetch(head + t * apart + d, access, 2);
}

// Head h of q, k or v, whose tokens are `apart` numbers apart, times factor, to [rows, D, pitch].
template <class T, class C>
VITRAL_CLONES void load_head(C* __restrict to, const T* __restrict from, std::int64_t apart, Positions l,
                             C factor) {
  to += l.first;
  for (std::int64_t r = 0; r < l.rows; ++r, to += l.size * l.pitch)
    for (std::int64_t c = 0; c < l.columns; c += lanes) {
      const std::int64_t tokens = std::min(lanes, l.columns - c);
      ask_ahead<0>(from, tokens, apart, l.size);
      Vector<C> factors;  // 0 beside the grid
      for (int t = 0; t < lanes; ++t) factors[t] = t < tokens ? factor : 0;
      // The last vector overlaps the one before where a head is no whole number of them.
      std::int64_t done = 0;
      for (; l.size >= lanes && done < l.size; done += lanes) {
        const std::int64_t d = std::min(done, l.size - lanes);
        Vector<C> v[lanes];
        for (int t = 0; t < lanes; ++t)
          load_vector(v[t], from + std::min<std::int64_t>(t, tokens - 1) * apart + d);
        cpu_kernels::transpose<C>(v);
        for (int k = 0; k < lanes; ++k) store_vector(to + (d + k) * l.pitch + c, factors * v[k]);
      }
      for (; done < l.size; ++done)
        for (std::int64_t t = 0; t < tokens; ++t)
          to[done * l.pitch + c + t] = factor * load(from[t * apart + done]);
      from += tokens * apart;
    }
}

// And back, from [rows, D, width].
template <class T, class C>
VITRAL_CLONES void store_head(T* __restrict to, std::int64_t apart, const C* __restrict from, Positions l,
                              C factor) {
  for (std::int64_t r = 0; r < l.rows; ++r, from += l.size * l.width)
    for (std::int64_t c = 0; c < l.columns; c += lanes) {
      const std::int64_t tokens = std::min(lanes, l.columns - c);
      ask_ahead<1>(to, tokens, apart, l.size);
      std::int64_t done = 0;
      for (; l.size >= lanes && done < l.size; done += lanes) {
        const std::int64_t d = std::min(done, l.size - lanes);
        Vector<C> v[lanes];
        for (int k = 0; k < lanes; ++k) {
          load_vector(v[k], from + (d + k) * l.width + c);
          v[k] *= factor;
        }
        cpu_kernels::transpose<C>(v);
        // What there is no token for is written first, where the last token's numbers come after.
        for (int t = lanes - 1; t >= 0; --t)
          store_vector(to + std::min<std::int64_t>(t, tokens - 1) * apart + d, v[t]);
      }
      for (; done < l.size; ++done)
        for (std::int64_t t = 0; t < tokens; ++t)
          store(to[t * apart + done], factor * from[done * l.width + c + t]);
      to += tokens * apart;
    }
}

// out[o] = sum_d a[d] b[d, at place o] for `many` places at once, whose sums stay in registers.
template <int many, class C>
VITRAL_INLINE void dot_places(C* __restrict out, const C* __restrict a, const C* __restrict b, std::int64_t o,
                              const Positions& l) {
  const C* neighbours[many];
  Vector<C> sums[many] = {}, x, y;
  for (int k = 0; k < many; ++k) neighbours[k] = b + l.shifts[o + k];
  for (std::int64_t d = 0; d < l.size; ++d) {
    load_vector(x, a + d * l.pitch);
    for (int k = 0; k < many; ++k) {
      load_vector(y, neighbours[k] + d * l.pitch);
      sums[k] += x * y;
    }
  }
  for (int k = 0; k < many; ++k) store_vector(out + (o + k) * l.span, sums[k]);
}

// out [places, span].
template <class C>
VITRAL_CLONES void dots(C* __restrict out, const C* __restrict a, const C* __restrict b, Positions l) {
  a += l.first;
  b += l.first;
  for (std::int64_t r = 0; r < l.rows; ++r) {
    for (std::int64_t c = 0; c < l.width; c += lanes) {
      std::int64_t o = 0;
      for (; o + 9 <= l.places; o += 9) dot_places<9>(out + c, a + c, b + c, o, l);
      for (; o < l.places; ++o) dot_places<1>(out + c, a + c, b + c, o, l);
    }
    out += l.width;
    a += l.size * l.pitch;
    b += l.size * l.pitch;
  }
}

// y[d] (+)= sum_o w[o] x[d, at place o], of `many` places whose weights stay in registers.
template <int many, class C>
VITRAL_INLINE void add_places(C* __restrict y, const C* __restrict w, const C* __restrict x, std::int64_t o,
                              const Positions& l, const Weights& at) {
  Vector<C> weights[many], xs, before;
  const C* neighbours[many];
  for (int k = 0; k < many; ++k) {
    load_vector(weights[k], w + at.offsets[o + k]);
    neighbours[k] = x + l.shifts[o + k];
  }
  for (std::int64_t d = 0; d < l.size; ++d) {
    // Three sums: an addition need not wait for the one before.
    Vector<C> sums[3] = {};
    for (int k = 0; k < many; ++k) {
      load_vector(xs, neighbours[k] + d * l.pitch);
      sums[k % 3] += weights[k] * xs;
    }
    Vector<C> sum = (sums[0] + sums[1]) + sums[2];
    if (o > 0) {
      load_vector(before, y + d * l.width);
      sum += before;
    }
    store_vector(y + d * l.width, sum);
  }
}

// y [rows, D, width].
template <class C>
VITRAL_CLONES void weighted_sum(C* __restrict y, const C* __restrict w, const C* __restrict x, Positions l,
                                Weights at) {
  x += l.first;
  w += at.first;
  for (std::int64_t r = 0; r < l.rows; ++r) {
    for (std::int64_t c = 0; c < l.width; c += lanes) {
      std::int64_t o = 0;
      for (; o + 9 <= l.places; o += 9) add_places<9>(y + c, w + c, x + c, o, l, at);
      for (; o < l.places; ++o) add_places<1>(y + c, w + c, x + c, o, l, at);
    }
    y += l.size * l.width;
    x += l.size * l.pitch;
    w += at.row;
  }
}

// Weights [places, span] to [rows, places, pitch].
template <class C>
VITRAL_CLONES void spread(C* __restrict to, const C* __restrict w, Positions l) {
  to += l.opposite.first;
  for (std::int64_t r = 0; r < l.rows; ++r)
    for (std::int64_t o = 0; o < l.places; ++o, to += l.pitch)
      for (std::int64_t c = 0; c < l.width; c += lanes) {
        Vector<C> v;
        load_vector(v, w + o * l.span + r * l.width + c);
        store_vector(to + c, v);
      }
}

// p[o] = softmax over the places of q . k + mask; q carries the scale.
template <class C>
VITRAL_CLONES void softmax_places(C* __restrict p, C* __restrict most, C* __restrict sum,
                                  const C* __restrict mask, Positions l) {
  for (std::int64_t o = 0; o < l.places; ++o) {
    C* score = p + o * l.span;
    const C* masked = mask + o * l.span;
    for (std::int64_t i = 0; i < l.span; ++i) score[i] += masked[i];
    if (o == 0)
      for (std::int64_t i = 0; i < l.span; ++i) most[i] = score[i], sum[i] = 0;
    else
      for (std::int64_t i = 0; i < l.span; ++i) most[i] = most[i] < score[i] ? score[i] : most[i];
  }
  for (std::int64_t o = 0; o < l.places; ++o) {
    C* score = p + o * l.span;
#pragma omp simd
    for (std::int64_t i = 0; i < l.span; ++i) {
      score[i] = cpu_kernels::exponential(score[i] - most[i]);
      sum[i] += score[i];
    }
  }
  for (std::int64_t i = 0; i < l.span; ++i) sum[i] = C(1) / sum[i];
  for (std::int64_t o = 0; o < l.places; ++o) {
    C* score = p + o * l.span;
    for (std::int64_t i = 0; i < l.span; ++i) score[i] *= sum[i];
  }
}

// ds = p (dp - sum_o p dp), in place of dp.
template <class C>
VITRAL_CLONES void softmax_places_backward(C* __restrict dp, const C* __restrict p, C* __restrict mean,
                                           Positions l) {
  std::fill(mean, mean + l.span, C(0));
  for (std::int64_t i = 0; i < l.places * l.span; i += l.span)
    for (std::int64_t k = 0; k < l.span; ++k) mean[k] += p[i + k] * dp[i + k];
  for (std::int64_t i = 0; i < l.places * l.span; i += l.span)
    for (std::int64_t k = 0; k < l.span; ++k) dp[i + k] = p[i + k] * (dp[i + k] - mean[k]);
}

// Calls f(batch, head, memory) for all heads, with `around` zeros at the beginning of memory, which f leaves
// where they are, and `within` numbers behind them.
template <class C, class F>
void for_heads(std::int64_t batch, std::int64_t heads, std::int64_t around, std::int64_t within, F&& f) {
  // A piece for each thread: the zeros are written once, and no sum runs across heads.
  const std::int64_t threads = std::max(cpu_threads(), 1), grain = (batch * heads + threads - 1) / threads;
  if (grain == 0) return;
  cpu_kernels::parallel_chunks(batch * heads, grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    C* memory = cpu_kernels::scratch<C>(static_cast<std::size_t>(around + within));
    std::fill(memory, memory + around, C(0));
    for (std::int64_t i = begin; i < end; ++i) f(i / heads, i % heads, memory);
  });
}

void forward(Tensor& out, const Tensor& qkv, std::int64_t heads, TokenGrid grid, std::int64_t window) {
  const std::int64_t n = qkv.dim(1), width = qkv.dim(2) / 3;
  const Layout l(grid, window, width / heads);
  const Positions at(l);
  cpu_kernels::dispatch_number("neighbourhood_attention", qkv.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    const std::vector<C> mask = make_mask<C>(l);
    const C scale = C(1) / std::sqrt(static_cast<C>(l.size));
    const std::int64_t head = l.around(l.size), weights = l.places * l.span;
    for_heads<C>(qkv.dim(0), heads, 3 * head, l.size * l.span + weights + 2 * l.span,
                 [&](std::int64_t b, std::int64_t h, C* q) {
                   C *k = q + head, *v = k + head, *o = v + head, *p = o + l.size * l.span,
                     *most = p + weights;
                   const T* from = elements<T>(qkv) + b * n * 3 * width + h * l.size;
                   load_head(q, from, 3 * width, at, scale);
                   load_head(k, from + width, 3 * width, at, C(1));
                   load_head(v, from + 2 * width, 3 * width, at, C(1));
                   dots(p, q, k, at);
                   softmax_places(p, most, most + l.span, mask.data(), at);
                   weighted_sum(o, p, v, at, at.own);
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
    const std::int64_t head = l.around(l.size), weights = l.places * l.span, spaced = l.around(l.places);
    for_heads<C>(qkv.dim(0), heads, 4 * head + spaced, l.size * l.span + 2 * weights + 2 * l.span,
                 [&](std::int64_t b, std::int64_t h, C* q) {
                   C *k = q + head, *v = k + head, *g = v + head, *w = g + head, *d = w + spaced,
                     *p = d + l.size * l.span, *ds = p + weights, *most = ds + weights;
                   const std::int64_t first = b * n * 3 * width + h * l.size;
                   const T* from = elements<T>(qkv) + first;
                   T* to = elements<T>(dqkv) + first;
                   load_head(q, from, 3 * width, at, scale);
                   load_head(k, from + width, 3 * width, at, C(1));
                   load_head(v, from + 2 * width, 3 * width, at, C(1));
                   load_head(g, elements<T>(dout) + b * n * width + h * l.size, width, at, C(1));
                   dots(p, q, k, at);
                   softmax_places(p, most, most + l.span, mask.data(), at);
                   spread(w, p, at);
                   weighted_sum(d, w, g, at, at.opposite);
                   store_head(to + 2 * width, 3 * width, d, at, C(1));
                   dots(ds, g, v, at);
                   softmax_places_backward(ds, p, most, at);
                   weighted_sum(d, ds, k, at, at.own);
                   store_head(to, 3 * width, d, at, scale);
                   spread(w, ds, at);
                   weighted_sum(d, w, q, at, at.opposite);  // q carried the scale already
                   store_head(to + width, 3 * width, d, at, C(1));
                 });
  });
}

const bool implemented = kernel::neighbourhood_attention.implement(Device::Kind::cpu, forward) &&
                         kernel::neighbourhood_attention_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
