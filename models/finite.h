// What leaves a network is finite, or an error names its weights: pictures and figures of the rest would look
// like answers.
#pragma once
#include <string>
#include <string_view>

#include "base/vectors.h"
#include "tensor/tensor.h"

namespace vitral::models {

/// values: float32 on the CPU. Error "PATH: its embeddings are not finite; ADVICE".
inline void require_finite(const Tensor& values, const std::string& path, std::string_view advice) {
  if (!all_finite(values.data<float>(), values.numel()))
    throw_error("{}: its embeddings are not finite; {}", path, advice);
}

}  // namespace vitral::models
