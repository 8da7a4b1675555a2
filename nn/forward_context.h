// What a forward pass knows beside its input: whether it trains, and which random numbers belong to it.
#pragma once
#include <cstdint>

#include "autograd/ops.h"

namespace vitral::nn {

/// Random numbers are a pure function of (seed, step, sample, what they are for), so that a run that resumes
/// draws the same, and so does one that cuts its batch into other pieces.
struct ForwardContext {
  bool training = false;
  std::uint64_t seed = 0;
  Tensor step = {};               // int64 [1] where the model is: optimiser steps done; undefined: 0
  std::int64_t first_sample = 0;  // position in the whole batch of the first sample that is passed

  SampleDraws draws(std::int64_t layer, std::int64_t branch) const {
    return {seed, step, first_sample, layer, branch};
  }
};

}  // namespace vitral::nn
