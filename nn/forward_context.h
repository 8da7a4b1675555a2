// What a forward pass knows beside its input: whether it trains, and which random numbers belong to it.
#pragma once
#include <cstdint>

#include "base/random.h"

namespace vitral::nn {

/// Random numbers are a pure function of (seed, step, sample, what they are for), so that a run that resumes
/// draws the same, and so does one that cuts its batch into other pieces.
struct ForwardContext {
  bool training = false;
  std::uint64_t seed = 0;
  std::int64_t step = 0;          // optimiser steps done
  std::int64_t first_sample = 0;  // position in the whole batch of the first sample that is passed

  /// For sample `i` of the input; `purpose` tells draws apart: a layer and a branch, say.
  template <class... Purpose>
  Random random(std::int64_t i, Purpose... purpose) const {
    return Random(seed, step, first_sample + i, purpose...);
  }
};

}  // namespace vitral::nn
