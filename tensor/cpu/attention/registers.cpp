#include "tensor/cpu/attention/registers.h"

#include "tensor/cpu/attention/softmax_rows.h"

namespace vitral::cpu_kernels {
namespace {

template <int many, class C>
VITRAL_INLINE void dot_some(C* __restrict w, std::int64_t stride, const C* __restrict x,
                            const C* __restrict a, const NeighbourhoodLayout& l) {
  Vector<C> sums[many] = {}, numbers;
  for (std::int64_t d = 0; d < l.size; ++d) {
    load_vector(numbers, x + d * l.pitch);
    for (int k = 0; k < many; ++k) sums[k] += numbers * a[k * l.size + d];
  }
  for (int k = 0; k < many; ++k) store_vector(w + k * stride, sums[k]);
}

template <class C>
VITRAL_CLONES void dots(C* __restrict w, std::int64_t stride, const C* __restrict x, const C* __restrict a,
                        NeighbourhoodLayout l) {
  x += l.first;
  for (std::int64_t row = 0; row < l.rows; ++row, x += l.size * l.pitch, w += l.width)
    for (std::int64_t c = 0; c < l.width; c += lanes) {
      std::int64_t r = 0;
      for (; r + 4 <= l.registers; r += 4) dot_some<4>(w + r * stride + c, stride, x + c, a + r * l.size, l);
      for (; r < l.registers; ++r) dot_some<1>(w + r * stride + c, stride, x + c, a + r * l.size, l);
    }
}

template <int many, class C>
VITRAL_INLINE void add_some(C* __restrict y, const C* __restrict w, std::int64_t stride,
                            const C* __restrict a, const NeighbourhoodLayout& l) {
  Vector<C> weights[many], sum;
  for (int k = 0; k < many; ++k) load_vector(weights[k], w + k * stride);
  for (std::int64_t d = 0; d < l.size; ++d) {
    load_vector(sum, y + d * l.width);
    for (int k = 0; k < many; ++k) sum += weights[k] * a[k * l.size + d];
    store_vector(y + d * l.width, sum);
  }
}

template <class C>
VITRAL_CLONES void add(C* __restrict y, const C* __restrict w, std::int64_t stride, const C* __restrict a,
                       NeighbourhoodLayout l) {
  for (std::int64_t row = 0; row < l.rows; ++row, y += l.size * l.width, w += l.width)
    for (std::int64_t c = 0; c < l.width; c += lanes) {
      std::int64_t r = 0;
      for (; r + 4 <= l.registers; r += 4) add_some<4>(y + c, w + r * stride + c, stride, a + r * l.size, l);
      for (; r < l.registers; ++r) add_some<1>(y + c, w + r * stride + c, stride, a + r * l.size, l);
    }
}

// Eight numbers at a time, which stay near for all registers: the sums of eight vectors are one after a
// transposition. The last eight overlap those before where a head is no whole number of them.
template <class C>
VITRAL_CLONES void sums_over_grid(C* __restrict out, const C* __restrict w, std::int64_t stride,
                                  const C* __restrict x, NeighbourhoodLayout l) {
  x += l.first;
  std::int64_t done = 0;
  for (; l.size >= lanes && done < l.size; done += lanes) {
    const std::int64_t d = std::min(done, l.size - lanes);
    for (std::int64_t r = 0; r < l.registers; ++r) {
      Vector<C> sums[lanes] = {}, weights, numbers;
      for (std::int64_t row = 0; row < l.rows; ++row)
        for (std::int64_t c = 0; c < l.width; c += lanes) {
          load_vector(weights, w + r * stride + row * l.width + c);
          for (int k = 0; k < lanes; ++k) {
            load_vector(numbers, x + (row * l.size + d + k) * l.pitch + c);
            sums[k] += weights * numbers;
          }
        }
      transpose<C>(sums);
      for (int k = 1; k < lanes; ++k) sums[0] += sums[k];
      store_vector(out + r * l.size + d, sums[0]);
    }
  }
  for (; done < l.size; ++done)
    for (std::int64_t r = 0; r < l.registers; ++r) {
      C sum = 0;
      for (std::int64_t row = 0; row < l.rows; ++row)
        for (std::int64_t c = 0; c < l.columns; ++c)
          sum += w[r * stride + row * l.width + c] * x[(row * l.size + done) * l.pitch + c];
      out[r * l.size + done] = sum;
    }
}

// Between the registers themselves: w[r, j] = a[r] . b[j].
template <class C>
VITRAL_CLONES void dots_between(C* __restrict w, const C* __restrict a, const C* __restrict b,
                                NeighbourhoodLayout l) {
  for (std::int64_t r = 0; r < l.registers; ++r)
    for (std::int64_t j = 0; j < l.registers; ++j) {
      C sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t d = 0; d < l.size; ++d) sum += a[r * l.size + d] * b[j * l.size + d];
      w[r * l.all() + j] = sum;
    }
}

// out[r] += sum_j w b[j], the weights of j `step` numbers apart, those of r `row`.
template <class C>
VITRAL_CLONES void add_between(C* __restrict out, const C* __restrict w, std::int64_t row, std::int64_t step,
                               const C* __restrict b, NeighbourhoodLayout l) {
  for (std::int64_t r = 0; r < l.registers; ++r)
    for (std::int64_t j = 0; j < l.registers; ++j)
      for (std::int64_t d = 0; d < l.size; ++d)
        out[r * l.size + d] += w[r * row + j * step] * b[j * l.size + d];
}

}  // namespace

template <class C>
void dot_registers(C* w, std::int64_t stride, const C* x, const C* a, const NeighbourhoodLayout& l) {
  dots(w, stride, x, a, l);
}

template <class C>
void add_registers(C* y, const C* w, std::int64_t stride, const C* a, const NeighbourhoodLayout& l) {
  add(y, w, stride, a, l);
}

template <class C>
void gather(C* out, const C* w, std::int64_t stride, const C* x, const NeighbourhoodLayout& l) {
  sums_over_grid(out, w, stride, x, l);
}

template <class C>
void dot_all(C* w, const C* x, const C* b, const C* a, const NeighbourhoodLayout& l) {
  dots(w, l.all(), x, a, l);
  dots_between(w + l.span, a, b, l);
}

template <class C>
void softmax_all(C* w, const NeighbourhoodLayout& l) {
  for (std::int64_t r = 0; r < l.registers; ++r)  // there is no token beside the grid
    for (std::int64_t row = 0; row < l.rows; ++row)
      std::fill(w + r * l.all() + row * l.width + l.columns, w + r * l.all() + (row + 1) * l.width, C(-1e30));
  softmax_rows(w, l.registers, l.all());
}

template <class C>
void softmax_all_backward(C* dp, const C* p, const NeighbourhoodLayout& l) {
  softmax_rows_backward(dp, p, l.registers, l.all());
}

template <class C>
void gather_all(C* out, const C* w, const C* x, const C* b, const NeighbourhoodLayout& l) {
  sums_over_grid(out, w, l.all(), x, l);
  add_between(out, w + l.span, l.all(), 1, b, l);
}

template <class C>
void add_from_registers(C* out, const C* w, const C* a, const NeighbourhoodLayout& l) {
  add_between(out, w + l.span, 1, l.all(), a, l);
}

#define INSTANTIATE(C)                                                                           \
  template void dot_registers(C*, std::int64_t, const C*, const C*, const NeighbourhoodLayout&); \
  template void add_registers(C*, const C*, std::int64_t, const C*, const NeighbourhoodLayout&); \
  template void gather(C*, const C*, std::int64_t, const C*, const NeighbourhoodLayout&);        \
  template void dot_all(C*, const C*, const C*, const C*, const NeighbourhoodLayout&);           \
  template void softmax_all(C*, const NeighbourhoodLayout&);                                     \
  template void softmax_all_backward(C*, const C*, const NeighbourhoodLayout&);                  \
  template void gather_all(C*, const C*, const C*, const C*, const NeighbourhoodLayout&);        \
  template void add_from_registers(C*, const C*, const C*, const NeighbourhoodLayout&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace vitral::cpu_kernels
