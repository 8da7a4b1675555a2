// OpenMP loops of the CPU kernels. Work is cut into chunks of a fixed size, not into as many parts as there
// are threads, so that partial sums, and with them results, do not depend on the number of threads (those of
// a BLAS, tensor/cpu/matmul/gemm.cpp, do).
#pragma once
#include <algorithm>
#include <cstdint>

namespace vitral::cpu_kernels {

/// Calls f(chunk, begin, end) for the chunks of `grain` elements of [0, n), in parallel.
template <class F>
void parallel_chunks(std::int64_t n, std::int64_t grain, F&& f) {
  const std::int64_t chunks = (n + grain - 1) / grain;
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (std::int64_t c = 0; c < chunks; ++c) f(c, c * grain, std::min(n, (c + 1) * grain));
}

inline std::int64_t chunk_count(std::int64_t n, std::int64_t grain) { return (n + grain - 1) / grain; }

}  // namespace vitral::cpu_kernels
