// One head at a time, transposed, so that a vector register holds one dimension of neighbouring tokens and no
// sum runs across a register: [rows, D, pitch], a row of the grid in each. Zeros lie around it: `margin` rows
// above and below, and so many columns left and right that the neighbours at (dy, dx) are always one distance
// away and rarely in another line of the cache. Weights of the neighbours are [neighbours, span], without
// what is empty, except where a neighbour's weight for the token is wanted. A mask takes the weight of those
// outside the grid. Registers' keys follow the neighbours as further weights, [keys, span]; what registers
// see is computed beside it (tensor/cpu/attention/registers.h).
#include <cmath>
#include <utility>

#include "tensor/cpu/attention/registers.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

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

using Layout = cpu_kernels::NeighbourhoodLayout;
using Weights = cpu_kernels::NeighbourWeights;

// A thread's memory for one head. Where zeros lie around the numbers, they are written once and stay.
template <class C>
struct Scratch {
  Scratch(const Layout& l, bool backward) {
    const std::int64_t head = l.around(l.size), spaced = l.around(l.neighbours), weights = l.keys() * l.span,
                       rows = l.registers * l.size, of_all = l.registers * l.all(), sides = backward ? 2 : 1;
    const std::int64_t zeros = backward ? 4 * head + spaced : 3 * head,
                       others = l.size * l.span + sides * (weights + of_all) + 2 * l.span + 5 * rows;
    C* next = cpu_kernels::scratch<C>(static_cast<std::size_t>(zeros + others));
    std::fill(next, next + zeros, C(0));
    const auto take = [&](std::int64_t count) { return std::exchange(next, next + count); };
    q = take(head), k = take(head), v = take(head);
    if (backward) g = take(head), opposite = take(spaced);
    result = take(l.size * l.span);
    p = take(weights);
    if (backward) ds = take(weights);
    maximum = take(l.span), sum = take(l.span);
    tail = l.neighbours * l.span;
    row_q = take(rows), row_k = take(rows), row_v = take(rows), row_g = take(rows), row_result = take(rows);
    row_p = take(of_all);
    if (backward) row_ds = take(of_all);
  }
  C *q, *k, *v, *g = nullptr;  // [rows, D, pitch] with zeros around; g: of dout
  C* opposite = nullptr;  // what the neighbours' weights for a token are read from, [rows, neighbours, pitch]
                          // with zeros around
  C* result;              // [rows, D, width]
  C *p, *ds = nullptr;    // weights and their slopes, [keys, span]
  C *maximum, *sum;       // over the keys, [span]
  std::int64_t tail;      // to the registers' weights in p and ds
  // Of registers: [R,D], and what they see, [R, all].
  C *row_q, *row_k, *row_v, *row_g, *row_result, *row_p, *row_ds = nullptr;
};

// 0 where there is a neighbour or a register, a number that leaves no weight where not: [keys, span].
template <class C>
std::vector<C> make_mask(const Layout& l) {
  std::vector<C> mask(static_cast<std::size_t>(l.keys() * l.span), C(0));
  std::fill(mask.begin(), mask.begin() + l.neighbours * l.span, C(-1e30));
  std::size_t o = 0;
  for (std::int64_t dy = -l.margin; dy <= l.margin; dy += l.dilation)
    for (std::int64_t dx = -l.margin; dx <= l.margin; dx += l.dilation, ++o)
      for (std::int64_t r = std::max<std::int64_t>(0, -dy); r < std::min(l.rows, l.rows - dy); ++r)
        for (std::int64_t c = std::max<std::int64_t>(0, -dx); c < std::min(l.columns, l.columns - dx); ++c)
          mask[o * static_cast<std::size_t>(l.span) + static_cast<std::size_t>(r * l.width + c)] = 0;
  return mask;
}

// The heads that follow lie behind this one in each token, too far from the token before for the processor to
// fetch them by itself: the one after the next is asked for, to be read (0) or written (1).
template <int access, class T>
VITRAL_INLINE void ask_ahead(const T* head, std::int64_t tokens, std::int64_t stride, std::int64_t size) {
  constexpr std::int64_t line = 64 / sizeof(T);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t d = 2 * size; d < 3 * size; d += line)
      __builtin_prefetch(head + t * stride + d, access, 2);
}

// Head h of q, k or v, whose tokens are `stride` numbers apart, times factor, to [rows, D, pitch].
template <class T, class C>
VITRAL_CLONES void load_head(C* __restrict to, const T* __restrict from, std::int64_t stride, Layout l,
                             C factor) {
  to += l.first;
  for (std::int64_t r = 0; r < l.rows; ++r, to += l.size * l.pitch)
    for (std::int64_t c = 0; c < l.columns; c += lanes) {
      const std::int64_t tokens = std::min(lanes, l.columns - c);
      ask_ahead<0>(from, tokens, stride, l.size);
      Vector<C> factors;  // 0 beside the grid
      for (int t = 0; t < lanes; ++t) factors[t] = t < tokens ? factor : 0;
      // The last vector overlaps the one before where a head is no whole number of them.
      std::int64_t done = 0;
      for (; l.size >= lanes && done < l.size; done += lanes) {
        const std::int64_t d = std::min(done, l.size - lanes);
        Vector<C> v[lanes];
        for (int t = 0; t < lanes; ++t)
          load_vector(v[t], from + std::min<std::int64_t>(t, tokens - 1) * stride + d);
        cpu_kernels::transpose<C>(v);
        for (int k = 0; k < lanes; ++k) store_vector(to + (d + k) * l.pitch + c, factors * v[k]);
      }
      for (; done < l.size; ++done)
        for (std::int64_t t = 0; t < tokens; ++t)
          to[done * l.pitch + c + t] = factor * load(from[t * stride + done]);
      from += tokens * stride;
    }
}

// And back, from [rows, D, width].
template <class T, class C>
VITRAL_CLONES void store_head(T* __restrict to, std::int64_t stride, const C* __restrict from, Layout l,
                              C factor) {
  for (std::int64_t r = 0; r < l.rows; ++r, from += l.size * l.width)
    for (std::int64_t c = 0; c < l.columns; c += lanes) {
      const std::int64_t tokens = std::min(lanes, l.columns - c);
      ask_ahead<1>(to, tokens, stride, l.size);
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
          store_vector(to + std::min<std::int64_t>(t, tokens - 1) * stride + d, v[t]);
      }
      for (; done < l.size; ++done)
        for (std::int64_t t = 0; t < tokens; ++t)
          store(to[t * stride + done], factor * from[done * l.width + c + t]);
      to += tokens * stride;
    }
}

// out[o] = sum_d a[d] b[d, at neighbour o] for `many` neighbours at once, whose sums stay in registers.
template <int many, class C>
VITRAL_INLINE void dot_neighbours(C* __restrict out, const C* __restrict a, const C* __restrict b,
                                  std::int64_t o, const Layout& l) {
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

// out [neighbours, span].
template <class C>
VITRAL_CLONES void dots(C* __restrict out, const C* __restrict a, const C* __restrict b, Layout l) {
  a += l.first;
  b += l.first;
  for (std::int64_t r = 0; r < l.rows; ++r) {
    for (std::int64_t c = 0; c < l.width; c += lanes) {
      std::int64_t o = 0;
      for (; o + 9 <= l.neighbours; o += 9) dot_neighbours<9>(out + c, a + c, b + c, o, l);
      for (; o < l.neighbours; ++o) dot_neighbours<1>(out + c, a + c, b + c, o, l);
    }
    out += l.width;
    a += l.size * l.pitch;
    b += l.size * l.pitch;
  }
}

// y[d] (+)= sum_o w[o] x[d, at neighbour o], of `many` neighbours whose weights stay in registers.
template <int many, class C>
VITRAL_INLINE void add_neighbours(C* __restrict y, const C* __restrict w, const C* __restrict x,
                                  std::int64_t o, const Layout& l, const Weights& at) {
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
VITRAL_CLONES void weighted_sum(C* __restrict y, const C* __restrict w, const C* __restrict x, Layout l,
                                Weights at) {
  x += l.first;
  w += at.first;
  for (std::int64_t r = 0; r < l.rows; ++r) {
    for (std::int64_t c = 0; c < l.width; c += lanes) {
      std::int64_t o = 0;
      for (; o + 9 <= l.neighbours; o += 9) add_neighbours<9>(y + c, w + c, x + c, o, l, at);
      for (; o < l.neighbours; ++o) add_neighbours<1>(y + c, w + c, x + c, o, l, at);
    }
    y += l.size * l.width;
    x += l.size * l.pitch;
    w += at.row;
  }
}

// Weights [neighbours, span] to [rows, neighbours, pitch].
template <class C>
VITRAL_CLONES void spread(C* __restrict to, const C* __restrict w, Layout l) {
  to += l.opposite.first;
  for (std::int64_t r = 0; r < l.rows; ++r)
    for (std::int64_t o = 0; o < l.neighbours; ++o, to += l.pitch)
      for (std::int64_t c = 0; c < l.width; c += lanes) {
        Vector<C> v;
        load_vector(v, w + o * l.span + r * l.width + c);
        store_vector(to + c, v);
      }
}

// p[o] = softmax over the keys of q . k + mask; q carries the scale.
template <class C>
VITRAL_CLONES void softmax_neighbours(C* __restrict p, C* __restrict maximum, C* __restrict sum,
                                      const C* __restrict mask, Layout l) {
  for (std::int64_t o = 0; o < l.keys(); ++o) {
    C* score = p + o * l.span;
    const C* masked = mask + o * l.span;
    for (std::int64_t i = 0; i < l.span; ++i) score[i] += masked[i];
    if (o == 0)
      for (std::int64_t i = 0; i < l.span; ++i) maximum[i] = score[i], sum[i] = 0;
    else
      for (std::int64_t i = 0; i < l.span; ++i) maximum[i] = maximum[i] < score[i] ? score[i] : maximum[i];
  }
  for (std::int64_t o = 0; o < l.keys(); ++o) {
    C* score = p + o * l.span;
#pragma omp simd
    for (std::int64_t i = 0; i < l.span; ++i) {
      score[i] = cpu_kernels::exponential(score[i] - maximum[i]);
      sum[i] += score[i];
    }
  }
  for (std::int64_t i = 0; i < l.span; ++i) sum[i] = C(1) / sum[i];
  for (std::int64_t o = 0; o < l.keys(); ++o) {
    C* score = p + o * l.span;
    for (std::int64_t i = 0; i < l.span; ++i) score[i] *= sum[i];
  }
}

// ds = p (dp - sum_o p dp), in place of dp.
template <class C>
VITRAL_CLONES void softmax_neighbours_backward(C* __restrict dp, const C* __restrict p, C* __restrict mean,
                                               Layout l) {
  std::fill(mean, mean + l.span, C(0));
  for (std::int64_t i = 0; i < l.keys() * l.span; i += l.span)
    for (std::int64_t k = 0; k < l.span; ++k) mean[k] += p[i + k] * dp[i + k];
  for (std::int64_t i = 0; i < l.keys() * l.span; i += l.span)
    for (std::int64_t k = 0; k < l.span; ++k) dp[i + k] = p[i + k] * (dp[i + k] - mean[k]);
}

// Calls f(batch, head, scratch) for all heads.
template <class C, class F>
void for_heads(std::int64_t batch, std::int64_t heads, const Layout& l, bool backward, F&& f) {
  // A piece for each thread: the zeros are written once, and no sum runs across heads.
  const std::int64_t threads = std::max(cpu_threads(), 1), grain = (batch * heads + threads - 1) / threads;
  if (grain == 0) return;
  cpu_kernels::parallel_chunks(batch * heads, grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    const Scratch<C> s(l, backward);
    for (std::int64_t i = begin; i < end; ++i) f(i / heads, i % heads, s);
  });
}

// Rows of a head of the registers, times factor, to [R,D].
template <class T, class C>
void load_rows(C* to, const T* from, std::int64_t stride, const Layout& l, C factor) {
  for (std::int64_t r = 0; r < l.registers; ++r)
    for (std::int64_t d = 0; d < l.size; ++d) to[r * l.size + d] = factor * load(from[r * stride + d]);
}
template <class T, class C>
void store_rows(T* to, std::int64_t stride, const C* from, const Layout& l, C factor) {
  for (std::int64_t r = 0; r < l.registers; ++r)
    for (std::int64_t d = 0; d < l.size; ++d) store(to[r * stride + d], factor * from[r * l.size + d]);
}

// All weights of a head, of which both directions begin; `from` is its q in the first token of an image.
template <class T, class C>
void attend(const Scratch<C>& s, const T* from, std::int64_t width, const C* mask, const Layout& l) {
  const C scale = C(1) / std::sqrt(static_cast<C>(l.size));
  load_head(s.q, from, 3 * width, l, scale);
  load_head(s.k, from + width, 3 * width, l, C(1));
  load_head(s.v, from + 2 * width, 3 * width, l, C(1));
  dots(s.p, s.q, s.k, l);
  if (l.registers > 0) {
    from += l.rows * l.columns * 3 * width;
    load_rows(s.row_q, from, 3 * width, l, scale);
    load_rows(s.row_k, from + width, 3 * width, l, C(1));
    load_rows(s.row_v, from + 2 * width, 3 * width, l, C(1));
    dot_registers(s.p + s.tail, l.span, s.q, s.row_k, l);
    dot_all(s.row_p, s.k, s.row_k, s.row_q, l);
    softmax_all(s.row_p, l);
  }
  softmax_neighbours(s.p, s.maximum, s.sum, mask, l);
}

void forward(Tensor& out, const Tensor& qkv, std::int64_t heads, Neighbourhood n) {
  const std::int64_t tokens = qkv.dim(1), width = qkv.dim(2) / 3;
  std::vector<std::int64_t> tables;
  const Layout l(n, width / heads, tables);
  cpu_kernels::dispatch_number("neighbourhood_attention", qkv.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    const std::vector<C> mask = make_mask<C>(l);
    for_heads<C>(qkv.dim(0), heads, l, false, [&](std::int64_t b, std::int64_t h, const Scratch<C>& s) {
      attend(s, elements<T>(qkv) + b * tokens * 3 * width + h * l.size, width, mask.data(), l);
      T* to = elements<T>(out) + b * tokens * width + h * l.size;
      weighted_sum(s.result, s.p, s.v, l, l.own);
      if (l.registers > 0) add_registers(s.result, s.p + s.tail, l.span, s.row_v, l);
      store_head(to, width, s.result, l, C(1));
      if (l.registers == 0) return;
      gather_all(s.row_result, s.row_p, s.v, s.row_v, l);
      store_rows(to + l.rows * l.columns * width, width, s.row_result, l, C(1));
    });
  });
}

void backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, std::int64_t heads, Neighbourhood n) {
  const std::int64_t tokens = qkv.dim(1), width = qkv.dim(2) / 3;
  std::vector<std::int64_t> tables;
  const Layout l(n, width / heads, tables);
  cpu_kernels::dispatch_number("neighbourhood_attention_backward", qkv.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    const std::vector<C> mask = make_mask<C>(l);
    const C scale = C(1) / std::sqrt(static_cast<C>(l.size));
    for_heads<C>(qkv.dim(0), heads, l, true, [&](std::int64_t b, std::int64_t h, const Scratch<C>& s) {
      const std::int64_t first = b * tokens * 3 * width + h * l.size, behind = l.rows * l.columns * width;
      const T* g = elements<T>(dout) + b * tokens * width + h * l.size;
      T *to = elements<T>(dqkv) + first, *to_rows = to + 3 * behind;
      const bool registers = l.registers > 0;
      attend(s, elements<T>(qkv) + first, width, mask.data(), l);
      load_head(s.g, g, width, l, C(1));

      spread(s.opposite, s.p, l);
      weighted_sum(s.result, s.opposite, s.g, l, l.opposite);
      if (registers) {
        load_rows(s.row_g, g + behind, width, l, C(1));
        add_registers(s.result, s.row_p, l.all(), s.row_g, l);
        gather(s.row_result, s.p + s.tail, l.span, s.g, l);
        add_from_registers(s.row_result, s.row_p, s.row_g, l);
        store_rows(to_rows + 2 * width, 3 * width, s.row_result, l, C(1));
      }
      store_head(to + 2 * width, 3 * width, s.result, l, C(1));

      dots(s.ds, s.g, s.v, l);
      if (registers) {
        dot_registers(s.ds + s.tail, l.span, s.g, s.row_v, l);
        dot_all(s.row_ds, s.v, s.row_v, s.row_g, l);
        softmax_all_backward(s.row_ds, s.row_p, l);
      }
      softmax_neighbours_backward(s.ds, s.p, s.sum, l);

      weighted_sum(s.result, s.ds, s.k, l, l.own);
      if (registers) {
        add_registers(s.result, s.ds + s.tail, l.span, s.row_k, l);
        gather_all(s.row_result, s.row_ds, s.k, s.row_k, l);
        store_rows(to_rows, 3 * width, s.row_result, l, scale);
      }
      store_head(to, 3 * width, s.result, l, scale);

      spread(s.opposite, s.ds, l);
      weighted_sum(s.result, s.opposite, s.q, l, l.opposite);  // q carried the scale already
      if (registers) {
        add_registers(s.result, s.row_ds, l.all(), s.row_q, l);
        gather(s.row_result, s.ds + s.tail, l.span, s.q, l);
        add_from_registers(s.row_result, s.row_ds, s.row_q, l);
        store_rows(to_rows + width, 3 * width, s.row_result, l, C(1));
      }
      store_head(to + width, 3 * width, s.result, l, C(1));
    });
  });
}

const bool implemented = kernel::neighbourhood_attention.implement(Device::Kind::cpu, forward) &&
                         kernel::neighbourhood_attention_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
