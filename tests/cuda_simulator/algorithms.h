// The algorithms that the simulated cuBLASLt has, and what an opaque cublasLtMatmulAlgo_t holds.
//
// Two ids, so that there is something to choose: 6 is as the kernels of Ampere, knows every type and
// epilogue, 66 as those that came with Hopper, for bfloat16 at addresses that are multiples of 16, without
// bias gradients. All give the same numbers but for the order of their sums (split K).
#pragma once
#include <chrono>
#include <cstddef>
#include <vector>

#include "matmul.h"

namespace simulator {

struct Algorithm {
  std::uint64_t mark = 0;  // of an initialised one
  std::int32_t id = 0, split_k = 1;
  std::uint32_t tile = 0, stages = 0, scheme = CUBLASLT_REDUCTION_SCHEME_NONE, swizzle = 0, custom = 0;
  std::uint16_t inner = 0, cluster = CUBLASLT_CLUSTER_SHAPE_AUTO;
  // What no attribute says: true of id 66 as it is proposed, which then sums K in two halves. Who makes an
  // algorithm of its attributes gets another one.
  bool halves = false;
};

/// Asked for by all, so that tests see whether the caller's workspace is one; cuBLASLt's own needs vary.
constexpr std::size_t workspace_needed = 1024;

cublasLtMatmulAlgo_t pack(const Algorithm& algorithm);
/// False where it was never initialised.
bool unpack(const cublasLtMatmulAlgo_t& packed, Algorithm& algorithm);

/// Whether it can multiply these, on the current device, at addresses that are multiples of `alignment`.
bool can_run(const Algorithm& algorithm, const cublasLtMatmulDescOpaque_t& desc, std::int32_t input_type,
             std::uint64_t alignment);
/// What the library proposes, in the order of its own estimate.
std::vector<Algorithm> proposals();
/// How long one product takes on the device's clock (Settings::fastest_tile).
std::chrono::nanoseconds time_of(const Algorithm& algorithm);

}  // namespace simulator
