// Tensors that a computation reads and that are always the same.
#pragma once
#include "autograd/variable.h"

namespace vitral::models {

/// What make() gives, float32 on the CPU, where `like` is and in its dtype. Brought there once: who did it
/// for each batch would wait for the device, and a recorded graph cannot read what the host has.
template <class Make>
const Variable& constant(Variable& kept, const Variable& like, Make&& make) {
  if (!kept.defined() || kept.device() != like.device() || kept.dtype() != like.dtype())
    kept = Variable(make().cast(like.dtype()).to(like.device()));
  return kept;
}

}  // namespace vitral::models
