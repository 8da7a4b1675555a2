// Kernels that work on one row (the last dimension) at a time.
#pragma once
#include <Eigen/Core>

#include "tensor/cpu/parallel.h"
#include "tensor/tensor.h"

namespace vitral::cpu_kernels {

/// Calls f(row of y, rows of inputs...) as Eigen array maps, for all rows in parallel.
template <class F, class... Inputs>
void for_rows(const char* operation, F&& f, Tensor& y, const Inputs&... inputs) {
  const std::int64_t width = y.dim(-1);
  if (y.numel() == 0) return;
  dispatch_float(operation, y.dtype(), [&]<class T>(T) {
    using Array = Eigen::Array<T, Eigen::Dynamic, 1>;
    const std::int64_t grain = std::max<std::int64_t>(1, 8192 / width);
    parallel_chunks(y.numel() / width, grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r)
        f(Eigen::Map<Array>(y.data<T>() + r * width, width),
          Eigen::Map<const Array>(inputs.template data<T>() + r * width, width)...);
    });
  });
}

}  // namespace vitral::cpu_kernels
