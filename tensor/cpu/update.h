// What the formulas of optimisers share on the CPU; tensor/ops/update.h has the contract.
#pragma once
#include "base/clones.h"
#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/ops/update.h"

namespace vitral::cpu_kernels {

/// The average and the copy of n numbers p that have their new values; null where there is none.
template <class T>
VITRAL_CLONES void follow(const T* __restrict p, T* __restrict average, BFloat16* __restrict copy,
                          T average_weight, std::int64_t n) {
  if (average)
    for (std::int64_t i = 0; i < n; ++i) average[i] += average_weight * (p[i] - average[i]);
  if (copy)
    for (std::int64_t i = 0; i < n; ++i) store(copy[i], static_cast<float>(p[i]));
}

/// Calls formula(i, n) for pieces of the item, on all threads: elements [i, i + n) get their new values.
template <class T, class F>
void update_item(const UpdateItem& item, double average_weight, F&& formula) {
  constexpr std::int64_t grain = 65536;
  const T* p = item.p.data<T>();
  T* average = item.average.defined() ? item.average.data<T>() : nullptr;
  auto* copy = item.copy.defined() ? elements<BFloat16>(item.copy) : nullptr;
  parallel_chunks(item.p.numel(), grain, [&](std::int64_t, std::int64_t i, std::int64_t end) {
    formula(i, end - i);
    follow<T>(p + i, average ? average + i : nullptr, copy ? copy + i : nullptr,
              static_cast<T>(average_weight), end - i);
  });
}

}  // namespace vitral::cpu_kernels
