// The gradient of a row is made by one thread, of its tokens in the order in which they stand: a counting
// sort says where each row's are.
#include "tensor/ops/embedding.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral {
namespace {

using cpu_kernels::elements;

void copy_row(Tensor& to, std::int64_t row, const Tensor& from, std::int64_t from_row) {
  const auto bytes = static_cast<std::size_t>(to.dim(-1)) * size_of(to.dtype());
  std::memcpy(static_cast<char*>(to.raw()) + static_cast<std::size_t>(row) * bytes,
              static_cast<const char*>(from.raw()) + static_cast<std::size_t>(from_row) * bytes, bytes);
}

// Zeros of any floating dtype are zero bytes.
void clear_rows(Tensor& t, std::int64_t begin, std::int64_t end) {
  const auto bytes = static_cast<std::size_t>(t.dim(-1)) * size_of(t.dtype());
  std::memset(static_cast<char*>(t.raw()) + static_cast<std::size_t>(begin) * bytes, 0,
              static_cast<std::size_t>(end - begin) * bytes);
}

std::int64_t rows_a_chunk(const Tensor& t) {
  return std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, t.dim(-1)));
}

void embedding(Tensor& y, const Tensor& table, const Tensor& tokens) {
  const auto* token = tokens.data<std::int64_t>();
  cpu_kernels::parallel_chunks(tokens.numel(), rows_a_chunk(y),
                               [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                                 for (std::int64_t i = begin; i < end; ++i)
                                   if (token[i] >= 0 && token[i] < table.dim(0))
                                     copy_row(y, i, table, token[i]);
                                   else
                                     clear_rows(y, i, i + 1);
                               });
}

// The places of each row's tokens, in order: those of row v are places[begin[v]] up to places[begin[v + 1]].
struct Places {
  std::vector<std::int64_t> begin, places;
};
Places places_of(const Tensor& tokens, std::int64_t rows) {
  const auto* token = tokens.data<std::int64_t>();
  const auto is_row = [&](std::int64_t i) { return token[i] >= 0 && token[i] < rows; };
  Places out;
  out.begin.resize(static_cast<std::size_t>(rows) + 1);
  for (std::int64_t i = 0; i < tokens.numel(); ++i)
    if (is_row(i)) ++out.begin[static_cast<std::size_t>(token[i]) + 1];
  for (std::size_t v = 1; v < out.begin.size(); ++v) out.begin[v] += out.begin[v - 1];
  out.places.resize(static_cast<std::size_t>(out.begin.back()));
  std::vector<std::int64_t> next = out.begin;
  for (std::int64_t i = 0; i < tokens.numel(); ++i)
    if (is_row(i)) out.places[static_cast<std::size_t>(next[static_cast<std::size_t>(token[i])]++)] = i;
  return out;
}

template <class T, class C>
VITRAL_CLONES void widen_row(C* __restrict to, const T* __restrict from, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) to[i] = cpu_kernels::load(from[i]);
}
template <class T, class C>
VITRAL_CLONES void add_row(C* __restrict sum, const T* __restrict x, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) sum[i] += cpu_kernels::load(x[i]);
}
template <class T, class C>
VITRAL_CLONES void store_row(T* __restrict to, const C* __restrict from, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) cpu_kernels::store(to[i], from[i]);
}

void embedding_backward(Tensor& dtable, const Tensor& dy, const Tensor& tokens, bool add) {
  const std::int64_t rows = dtable.dim(0), width = dtable.dim(1);
  const Places of = places_of(tokens, rows);
  cpu_kernels::dispatch_number("embedding_backward", dtable.dtype(), [&]<class T>(T) {
    using C = cpu_kernels::Compute<T>;
    T* to = elements<T>(dtable);
    const T* from = elements<T>(dy);
    cpu_kernels::parallel_chunks(
        rows, rows_a_chunk(dtable), [&](std::int64_t, std::int64_t first, std::int64_t last) {
          C* sum = cpu_kernels::scratch<C>(static_cast<std::size_t>(width));
          for (std::int64_t v = first; v < last; ++v) {
            const auto begin = static_cast<std::size_t>(of.begin[static_cast<std::size_t>(v)]),
                       end = static_cast<std::size_t>(of.begin[static_cast<std::size_t>(v) + 1]);
            if (begin == end) {
              if (!add) clear_rows(dtable, v, v + 1);
              continue;
            }
            if (add)
              widen_row(sum, to + v * width, width);
            else
              std::fill_n(sum, width, C(0));
            for (std::size_t i = begin; i < end; ++i) add_row(sum, from + of.places[i] * width, width);
            store_row(to + v * width, sum, width);
          }
        });
  });
}

void end_of_text_pooling(Tensor& y, const Tensor& x, const Tensor& tokens) {
  const std::int64_t l = tokens.dim(1);
  for (std::int64_t t = 0; t < tokens.dim(0); ++t)
    copy_row(y, t, x, t * l + end_of_text(tokens.data<std::int64_t>() + t * l, l));
}

void end_of_text_pooling_backward(Tensor& dx, const Tensor& dy, const Tensor& tokens) {
  const std::int64_t l = tokens.dim(1);
  cpu_kernels::parallel_chunks(tokens.dim(0), 1, [&](std::int64_t t, std::int64_t, std::int64_t) {
    clear_rows(dx, t * l, (t + 1) * l);
    copy_row(dx, t * l + end_of_text(tokens.data<std::int64_t>() + t * l, l), dy, t);
  });
}

const bool implemented =
    kernel::embedding.implement(Device::Kind::cpu, embedding) &&
    kernel::embedding_backward.implement(Device::Kind::cpu, embedding_backward) &&
    kernel::end_of_text_pooling.implement(Device::Kind::cpu, end_of_text_pooling) &&
    kernel::end_of_text_pooling_backward.implement(Device::Kind::cpu, end_of_text_pooling_backward);

}  // namespace
}  // namespace vitral
