// The two layers of a transformer's MLP with an activation between them: c_proj(f(c_fc(x))).
#pragma once
#include "nn/linear.h"

namespace vitral::nn {

/// OpenAI's CLIP has quick_gelu, some of its retrained relatives gelu_erf.
enum class Activation : std::uint8_t { quick_gelu, gelu_erf };

class Mlp : public Module {
 public:
  Mlp(std::int64_t width, std::int64_t hidden, Random& random, Activation activation = {})
      : c_fc(child<Linear>("c_fc", width, hidden, random)),
        c_proj(child<Linear>("c_proj", hidden, width, random)),
        activation_(activation) {}

  /// x [...,W] -> [...,W]
  Variable operator()(const Variable& x) const {
    return activation_ == Activation::gelu_erf
               ? c_proj(gelu_erf(c_fc(x)))
               : activation_linear(c_fc(x), c_proj.weight, c_proj.bias, activations::quick_gelu);
  }

  Linear& c_fc;
  Linear& c_proj;

 private:
  Activation activation_;
};

}  // namespace vitral::nn
