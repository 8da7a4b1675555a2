// Stochastic depth (Huang, Sun et al. 2016, arXiv 1603.09382): in training a residual branch is left out for
// some samples, and where it is not, it is as much larger that the mean stays.
//   y_i = x_i * (u_i < rate ? 0 : 1 / (1 - rate)),  u_i uniform in [0, 1): one for each sample i
#pragma once
#include "base/random.h"
#include "tensor/kernel.h"

namespace vitral {

/// The random numbers of the samples in a batch: those of sample i are a pure function of
/// (seed, step, first_sample + i, layer, branch).
struct SampleDraws {
  std::uint64_t seed = 0;
  Tensor step = {};  // int64 [1] on the device, because a recorded graph reads it anew; undefined: step 0
  std::int64_t first_sample = 0;
  std::int64_t layer = 0, branch = 0;

  /// constexpr, so that a GPU may call it.
  static constexpr double uniform(std::uint64_t seed, std::int64_t step, std::int64_t sample,
                                  std::int64_t layer, std::int64_t branch) {
    return Random(seed, step, sample, layer, branch).uniform();
  }
};

namespace kernel {

/// x, y [B,W], which may be the same memory; rate in [0, 1). Its own gradient: dx = drop_path(dy).
inline constinit Kernel<void(Tensor& y, const Tensor& x, double rate, const SampleDraws& draws)> drop_path{
    "drop_path"};

}  // namespace kernel
}  // namespace vitral
