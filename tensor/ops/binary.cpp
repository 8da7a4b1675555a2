#include "tensor/ops/binary.h"

namespace vitral {

Shape broadcast_shape(const char* operation, const Shape& a, const Shape& b) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape out = longer;
  for (int i = 1; i <= shorter.rank(); ++i) {
    const auto m = longer.dim(-i), n = shorter.dim(-i);
    VITRAL_CHECK(m == n || m == 1 || n == 1,
                 "{}: {} and {} do not broadcast, dimension {} must be equal or 1", operation, a, b, -i);
    out = out.with(-i, m == 1 ? n : m);
  }
  return out;
}

BroadcastLoops broadcast_loops(const Shape& out, const Shape& a, const Shape& b) {
  BroadcastLoops loops;
  std::int64_t step_a = 1, step_b = 1;
  for (int i = 1; i <= out.rank(); ++i) {  // innermost first
    const std::int64_t d = out.dim(-i);
    const std::int64_t da = i <= a.rank() ? a.dim(-i) : 1, db = i <= b.rank() ? b.dim(-i) : 1;
    const std::int64_t stride_a = da == 1 ? 0 : step_a, stride_b = db == 1 ? 0 : step_b;
    step_a *= da;
    step_b *= db;
    if (d == 1) continue;
    const auto k = static_cast<std::size_t>(loops.rank);
    if (k > 0 && stride_a == loops.stride_a[k - 1] * loops.size[k - 1] &&
        stride_b == loops.stride_b[k - 1] * loops.size[k - 1]) {
      loops.size[k - 1] *= d;
      continue;
    }
    loops.size[k] = d, loops.stride_a[k] = stride_a, loops.stride_b[k] = stride_b;
    ++loops.rank;
  }
  if (loops.rank == 0) loops.rank = 1, loops.size[0] = 1;
  return loops;
}

}  // namespace vitral
