// The MLP of a transformer's block: what a token is made into, by itself.
#pragma once
#include <memory>

#include "nn/linear.h"

namespace vitral::nn {

class Mlp : public Module {
 public:
  /// x [...,W] -> [...,W]
  virtual Variable operator()(const Variable& x) const = 0;
};

/// Between the two layers of an MLP: OpenAI's CLIP has quick_gelu, some of its retrained relatives and DINOv2
/// gelu_erf, SigLIP gelu (by tanh).
enum class Activation : std::uint8_t { quick_gelu, gelu_erf, gelu };

struct MlpConfig {
  std::int64_t width = 0;   // W
  std::int64_t hidden = 0;  // between the layers
  Activation activation = Activation::quick_gelu;
};

/// c_proj(f(c_fc(x))), with fresh weights. Another kind of MLP is a class in nn/mlp.cpp and a case in here.
std::unique_ptr<Mlp> make_mlp(const MlpConfig& config, Random& random);

}  // namespace vitral::nn
