// Eight numbers that are computed with at once, in GCC's and Clang's vector types: one register, or more,
// whatever the processor of the clone has (base/clones.h).
#pragma once
#include <cstring>

#include "tensor/cpu/number.h"

namespace vitral::cpu_kernels {

constexpr std::int64_t lanes = 8;
template <class C>
struct VectorOf {
  using type [[gnu::vector_size(lanes * sizeof(C))]] = C;
};
template <class C>
using Vector = typename VectorOf<C>::type;

/// Eight numbers from any address, bfloat16 as float32.
template <class T>
VITRAL_INLINE void load_vector(Vector<Compute<T>>& to, const T* from) {
  if constexpr (std::is_same_v<T, Compute<T>>)
    std::memcpy(&to, from, sizeof(to));
  else
    for (int i = 0; i < lanes; ++i) to[i] = load(from[i]);
}

/// And back, rounded where T is bfloat16.
template <class T>
VITRAL_INLINE void store_vector(T* to, const Vector<Compute<T>>& from) {
  if constexpr (std::is_same_v<T, Compute<T>>)
    std::memcpy(to, &from, sizeof(from));
  else
    for (int i = 0; i < lanes; ++i) store(to[i], from[i]);
}

/// The transpose of eight vectors, in place: neighbours, then pairs, then halves change sides.
template <class C>
VITRAL_INLINE void transpose(Vector<C>* v) {
  Vector<C> t[lanes];
  for (int i = 0; i < lanes; i += 2) {
    t[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < lanes; i += 4)
    for (int k = 0; k < 2; ++k) {
      v[i + 2 * k] = __builtin_shufflevector(t[i + k], t[i + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      v[i + 2 * k + 1] = __builtin_shufflevector(t[i + k], t[i + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < 4; ++i) {
    t[i] = __builtin_shufflevector(v[i], v[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    t[i + 4] = __builtin_shufflevector(v[i], v[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
  for (int i = 0; i < lanes; ++i) v[i] = t[i];
}

}  // namespace vitral::cpu_kernels
