// Kernels that work on one row (the last dimension) at a time.
#pragma once
#include <Eigen/Core>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

namespace vitral::cpu_kernels {

/// Calls f(row of y, rows of inputs...) as Eigen array maps, for all rows in parallel; rows of bfloat16 as
/// copies in float32. Each tensor has rows of its own width.
template <class F, class... Inputs>
void for_rows(const char* operation, F&& f, Tensor& y, const Inputs&... inputs) {
  if (y.numel() == 0) return;
  const std::int64_t rows = y.numel() / y.dim(-1);
  dispatch_number(operation, y.dtype(), [&]<class T>(T) {
    using Array = Eigen::Array<Compute<T>, Eigen::Dynamic, 1>;
    const std::int64_t width = y.dim(-1), widest = std::max({width, inputs.dim(-1)...});
    parallel_chunks(
        rows, std::max<std::int64_t>(1, 8192 / widest),
        [&](std::int64_t, std::int64_t begin, std::int64_t end) {
          if constexpr (std::is_same_v<T, BFloat16>) {
            const auto widened = [](const Tensor& from, std::int64_t r) {
              Array row(from.dim(-1));
              const T* numbers = elements<T>(from) + r * row.size();
              for (std::int64_t i = 0; i < row.size(); ++i) row[i] = load(numbers[i]);
              return row;
            };
            Array out(width);
            for (std::int64_t r = begin; r < end; ++r) {
              f(Eigen::Map<Array>(out.data(), width), widened(inputs, r)...);
              for (std::int64_t i = 0; i < width; ++i) store(elements<T>(y)[r * width + i], out[i]);
            }
          } else {
            for (std::int64_t r = begin; r < end; ++r)
              f(Eigen::Map<Array>(y.data<T>() + r * width, width),
                Eigen::Map<const Array>(inputs.template data<T>() + r * inputs.dim(-1), inputs.dim(-1))...);
          }
        });
  });
}

}  // namespace vitral::cpu_kernels
