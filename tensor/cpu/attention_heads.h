// One head of packed attention tensors as a small contiguous matrix [N, padded D]. Rows are padded with zeros
// to a multiple of 8 numbers, so that products over D run in whole vector registers (33, the student's head
// size, is the worst case).
#pragma once
#include <cstdint>
#include <vector>

namespace vitral::cpu_kernels {

inline std::int64_t padded(std::int64_t d) { return (d + 7) / 8 * 8; }

struct HeadLayout {
  std::int64_t tokens, heads, size;  // N, H, D
  std::int64_t width() const { return heads * size; }
};

/// Copies head h of part (0 q, 1 k, 2 v) of one batch element, whose rows are `stride` numbers apart, times
/// `factor`.
template <class T>
void load_head(T* to, const T* from, std::int64_t stride, HeadLayout l, T factor = T(1)) {
  const std::int64_t dp = padded(l.size);
  for (std::int64_t n = 0; n < l.tokens; ++n) {
    for (std::int64_t d = 0; d < l.size; ++d) to[n * dp + d] = factor * from[n * stride + d];
    for (std::int64_t d = l.size; d < dp; ++d) to[n * dp + d] = 0;
  }
}

template <class T>
void store_head(T* to, std::int64_t stride, const T* from, HeadLayout l, T factor = T(1)) {
  const std::int64_t dp = padded(l.size);
  for (std::int64_t n = 0; n < l.tokens; ++n)
    for (std::int64_t d = 0; d < l.size; ++d) to[n * stride + d] = factor * from[n * dp + d];
}

/// Scratch memory of a thread, kept from call to call.
template <class T>
T* scratch(std::size_t count) {
  thread_local std::vector<T> memory;
  if (memory.size() < count) memory.resize(count);
  return memory.data();
}

}  // namespace vitral::cpu_kernels
