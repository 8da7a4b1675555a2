// One head at a time, transposed: [D, positions], so that a vector register holds one dimension of
// neighbouring tokens and no sum runs across a register. Positions are the tokens of the grid, row after row,
// with `reach` empty ones after each row and a margin of empty ones around all: the neighbour at (dy, dx) is
// then always `shift` positions away, and every loop over tokens is straight. Empty positions hold zeros; a
// mask takes their weight away.
#include <algorithm>
#include <cmath>
#include <limits>

#include <Eigen/Core>

#include "tensor/attention.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral {
namespace {

constexpr int lanes = 16;
template <class T>
using Lanes = Eigen::Array<T, lanes, 1>;
template <class T>
using Load = Eigen::Map<const Lanes<T>>;
template <class T>
using Store = Eigen::Map<Lanes<T>>;

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
template <class T>
std::vector<T> make_mask(const Layout& l) {
  std::vector<T> mask(static_cast<std::size_t>(l.count() * l.span), T(-1e30));
  const std::int64_t used = l.grid.rows * l.stride;
  for (std::int64_t o = 0; o < l.count(); ++o)
    for (std::int64_t i = 0; i < used; ++i)
      if (l.seen[static_cast<std::size_t>(o * used + i)]) mask[static_cast<std::size_t>(o * l.span + i)] = 0;
  return mask;
}

// Head h of q, k or v, whose tokens are `width` numbers apart, times factor; and back.
template <class T>
void load_head(T* to, const T* from, std::int64_t width, const Layout& l, T factor = T(1)) {
  std::fill(to, to + l.head(), T(0));
  for (std::int64_t r = 0; r < l.grid.rows; ++r)
    for (std::int64_t c = 0; c < l.grid.columns; ++c, from += width) {
      T* position = to + l.margin + r * l.stride + c;
      for (std::int64_t d = 0; d < l.size; ++d) position[d * l.length] = factor * from[d];
    }
}

template <class T>
void store_head(T* to, std::int64_t width, const T* from, const Layout& l, T factor = T(1)) {
  for (std::int64_t r = 0; r < l.grid.rows; ++r)
    for (std::int64_t c = 0; c < l.grid.columns; ++c, to += width) {
      const T* position = from + l.margin + r * l.stride + c;
      for (std::int64_t d = 0; d < l.size; ++d) to[d] = factor * position[d * l.length];
    }
}

// out[o] = sum_d a[d] b[d, shifted by o], for `places` neighbouring places of the window at once.
template <int places, class T>
void dot_places(T* out, const T* a, const T* b, std::int64_t o, const Layout& l) {
  for (std::int64_t i = l.margin; i < l.margin + l.span; i += lanes) {
    Lanes<T> sums[places];
    for (auto& s : sums) s.setZero();
    for (std::int64_t d = 0; d < l.size; ++d) {
      const Lanes<T> left = Load<T>(a + d * l.length + i);
      for (int k = 0; k < places; ++k)
        sums[k] += left * Load<T>(b + d * l.length + i + l.shifts[static_cast<std::size_t>(o + k)]);
    }
    for (int k = 0; k < places; ++k) Store<T>(out + (o + k) * l.length + i) = sums[k];
  }
}

template <class T>
void dots(T* out, const T* a, const T* b, const Layout& l) {
  std::int64_t o = 0;
  for (; o + 3 <= l.count(); o += 3) dot_places<3>(out, a, b, o, l);
  for (; o < l.count(); ++o) dot_places<1>(out, a, b, o, l);
}

// y[d] = sum_o w[o] x[d, shifted by o]
template <class T>
void weighted_sum(T* y, const T* w, const T* x, const Layout& l) {
  for (std::int64_t d = 0; d < l.size; ++d)
    for (std::int64_t i = l.margin; i < l.margin + l.span; i += lanes) {
      Lanes<T> sum = Lanes<T>::Zero();
      for (std::int64_t o = 0; o < l.count(); ++o)
        sum += Load<T>(w + o * l.length + i) *
               Load<T>(x + d * l.length + i + l.shifts[static_cast<std::size_t>(o)]);
      Store<T>(y + d * l.length + i) = sum;
    }
}

// The transpose: y[d] = sum_o (w[o] x[d]) shifted by minus o. The opposite place turns it into reading.
template <class T>
void weighted_sum_transposed(T* y, const T* w, const T* x, const Layout& l) {
  for (std::int64_t d = 0; d < l.size; ++d)
    for (std::int64_t i = l.margin; i < l.margin + l.span; i += lanes) {
      Lanes<T> sum = Lanes<T>::Zero();
      for (std::int64_t o = 0; o < l.count(); ++o) {
        const std::int64_t at = i + l.shifts[static_cast<std::size_t>(o)];
        sum += Load<T>(w + (l.count() - 1 - o) * l.length + at) * Load<T>(x + d * l.length + at);
      }
      Store<T>(y + d * l.length + i) = sum;
    }
}

// p[o] = softmax over the places of q . k + mask; q carries the scale.
template <class T>
void weights(T* p, const T* q, const T* k, const std::vector<T>& mask, const Layout& l) {
  dots(p, q, k, l);
  for (std::int64_t i = 0; i < l.span; i += lanes) {
    T* s = p + l.margin + i;
    Lanes<T> most = Lanes<T>::Constant(-std::numeric_limits<T>::infinity()), sum = Lanes<T>::Zero();
    for (std::int64_t o = 0; o < l.count(); ++o) {
      Store<T> score(s + o * l.length);
      score += Load<T>(mask.data() + o * l.span + i);
      most = most.max(score);
    }
    for (std::int64_t o = 0; o < l.count(); ++o) {
      Store<T> score(s + o * l.length);
      score = (score - most).exp();
      sum += score;
    }
    for (std::int64_t o = 0; o < l.count(); ++o) Store<T>(s + o * l.length) /= sum;
  }
}

void forward(Tensor& out, const Tensor& qkv, std::int64_t heads, TokenGrid grid, std::int64_t window) {
  const std::int64_t n = qkv.dim(1), width = qkv.dim(2) / 3;
  const Layout l(grid, window, width / heads);
  dispatch_float("neighbourhood_attention", qkv.dtype(), [&]<class T>(T) {
    const std::vector<T> mask = make_mask<T>(l);
    const T scale = T(1) / std::sqrt(static_cast<T>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads;
      T* q = cpu_kernels::scratch<T>(static_cast<std::size_t>(4 * l.head() + l.places()));
      T *k = q + l.head(), *v = k + l.head(), *o = v + l.head(), *p = o + l.head();
      const T* from = qkv.data<T>() + b * n * 3 * width + h * l.size;
      load_head(q, from, 3 * width, l, scale);
      load_head(k, from + width, 3 * width, l);
      load_head(v, from + 2 * width, 3 * width, l);
      weights(p, q, k, mask, l);
      weighted_sum(o, p, v, l);
      store_head(out.data<T>() + b * n * width + h * l.size, width, o, l);
    });
  });
}

void backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, std::int64_t heads, TokenGrid grid,
              std::int64_t window) {
  const std::int64_t n = qkv.dim(1), width = qkv.dim(2) / 3;
  const Layout l(grid, window, width / heads);
  dispatch_float("neighbourhood_attention_backward", qkv.dtype(), [&]<class T>(T) {
    const std::vector<T> mask = make_mask<T>(l);
    const T scale = T(1) / std::sqrt(static_cast<T>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads, at = b * n * 3 * width + h * l.size;
      T* q = cpu_kernels::scratch<T>(static_cast<std::size_t>(5 * l.head() + 2 * l.places()));
      T *k = q + l.head(), *v = k + l.head(), *g = v + l.head(), *d = g + l.head(), *p = d + l.head(),
        *ds = p + l.places();
      const T* from = qkv.data<T>() + at;
      T* to = dqkv.data<T>() + at;
      load_head(q, from, 3 * width, l, scale);
      load_head(k, from + width, 3 * width, l);
      load_head(v, from + 2 * width, 3 * width, l);
      load_head(g, dout.data<T>() + b * n * width + h * l.size, width, l);
      std::fill(p, p + 2 * l.places(), T(0));  // the margins are read
      weights(p, q, k, mask, l);
      weighted_sum_transposed(d, p, g, l);
      store_head(to + 2 * width, 3 * width, d, l);
      dots(ds, g, v, l);  // dp; then ds = p (dp - sum p dp)
      for (std::int64_t t = l.margin; t < l.margin + l.span; t += lanes) {
        Lanes<T> mean = Lanes<T>::Zero();
        for (std::int64_t o = 0; o < l.count(); ++o)
          mean += Load<T>(p + o * l.length + t) * Load<T>(ds + o * l.length + t);
        for (std::int64_t o = 0; o < l.count(); ++o) {
          Store<T> dp(ds + o * l.length + t);
          dp = Load<T>(p + o * l.length + t) * (dp - mean);
        }
      }
      weighted_sum(d, ds, k, l);
      store_head(to, 3 * width, d, l, scale);
      weighted_sum_transposed(d, ds, q, l);  // q carried the scale already
      store_head(to + width, 3 * width, d, l);
    });
  });
}

const bool implemented = kernel::neighbourhood_attention.implement(Device::Kind::cpu, forward) &&
                         kernel::neighbourhood_attention_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
