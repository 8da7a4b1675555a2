// Kernels that work on one row (the last dimension) at a time.
#pragma once
#include <Eigen/Core>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

namespace vitral::cpu_kernels {

/// Calls f(row of y, rows of inputs...) as Eigen array maps, for all rows in parallel; rows of bfloat16 as
/// copies in float32.
template <class F, class... Inputs>
void for_rows(const char* operation, F&& f, Tensor& y, const Inputs&... inputs) {
  const std::int64_t width = y.dim(-1);
  if (y.numel() == 0) return;
  dispatch_number(operation, y.dtype(), [&]<class T>(T) {
    using Array = Eigen::Array<Compute<T>, Eigen::Dynamic, 1>;
    const std::int64_t grain = std::max<std::int64_t>(1, 8192 / width);
    parallel_chunks(y.numel() / width, grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      if constexpr (std::is_same_v<T, BFloat16>) {
        const auto widened = [&](const T* from) {
          Array row(width);
          for (std::int64_t i = 0; i < width; ++i) row[i] = load(from[i]);
          return row;
        };
        Array out(width);
        for (std::int64_t r = begin; r < end; ++r) {
          f(Eigen::Map<Array>(out.data(), width), widened(elements<T>(inputs) + r * width)...);
          for (std::int64_t i = 0; i < width; ++i) store(elements<T>(y)[r * width + i], out[i]);
        }
      } else {
        for (std::int64_t r = begin; r < end; ++r)
          f(Eigen::Map<Array>(y.data<T>() + r * width, width),
            Eigen::Map<const Array>(inputs.template data<T>() + r * width, width)...);
      }
    });
  });
}

}  // namespace vitral::cpu_kernels
