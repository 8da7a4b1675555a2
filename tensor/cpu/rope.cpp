#include "tensor/ops/rope.h"

#include <algorithm>
#include <vector>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

using cpu_kernels::Compute;
using cpu_kernels::elements;
using cpu_kernels::load;
using cpu_kernels::store;

// n pairs of one head by one coordinate.
template <class T, class C>
VITRAL_CLONES void turn(T* __restrict to, const T* __restrict from, const C* cosines, const C* sines,
                        std::int64_t n) {
  for (std::int64_t t = 0; t < n; ++t) {
    const C a = load(from[2 * t]), b = load(from[2 * t + 1]);
    store(to[2 * t], a * cosines[t] - b * sines[t]);
    store(to[2 * t + 1], a * sines[t] + b * cosines[t]);
  }
}

void forward(Tensor& out, const Tensor& qkv, std::int64_t heads, TokenGrid grid, bool back) {
  const std::int64_t tokens = qkv.dim(1), row = qkv.dim(2), size = row / 3 / heads,
                     n = rope_frequencies(size), places = std::max(grid.rows, grid.columns);
  cpu_kernels::dispatch_number("rope", qkv.dtype(), [&]<class T>(T) {
    using C = Compute<T>;
    std::vector<C> cosines, sines;  // [places, n]
    for (std::int64_t place = 0; place < places; ++place)
      for (std::int64_t t = 0; t < n; ++t) {
        const double angle = static_cast<double>(place) * rope_speed(t, n);
        cosines.push_back(static_cast<C>(std::cos(angle)));
        sines.push_back(static_cast<C>(back ? -std::sin(angle) : std::sin(angle)));
      }
    constexpr std::int64_t grain = 16;
    cpu_kernels::parallel_chunks(
        qkv.dim(0) * tokens, grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) {
            const T* from = elements<T>(qkv) + i * row;
            T* to = elements<T>(out) + i * row;
            std::copy(from, from + row, to);
            const std::int64_t token = i % tokens;
            if (token >= grid.size()) continue;
            const std::int64_t at_row = token / grid.columns * n, at_column = token % grid.columns * n;
            for (std::int64_t head = 0; head < 2 * heads; ++head, from += size, to += size) {
              turn(to, from, cosines.data() + at_row, sines.data() + at_row, n);
              turn(to + 2 * n, from + 2 * n, cosines.data() + at_column, sines.data() + at_column, n);
            }
          }
        });
  });
}

const bool implemented = kernel::rope.implement(Device::Kind::cpu, forward);

}  // namespace
}  // namespace vitral
