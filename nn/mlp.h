// The MLP of a transformer's block: what a token is made into, by itself.
#pragma once
#include <cmath>
#include <memory>
#include <string>

#include "nn/linear.h"

namespace vitral::nn {

class Mlp : public Module {
 public:
  /// x [...,W] -> [...,W]
  virtual Variable operator()(const Variable& x) const = 0;
};

struct MlpConfig {
  std::int64_t width = 0;   // W
  std::int64_t hidden = 0;  // between the layers
  /// quick_gelu, gelu, gelu_pytorch_tanh (Hugging Face's names): c_proj(f(c_fc(x))). OpenAI's CLIP has
  /// quick_gelu, some of its retrained relatives and DINOv2 gelu, SigLIP gelu_pytorch_tanh.
  /// swiglu (Shazeer 2020, arXiv 2002.05202): w3(silu(w1 x) * w2 x), without biases.
  std::string kind = "quick_gelu";
};

/// round(ratio W); of swiglu, whose three matrices then hold as many weights, 8 ceil(ratio W (2/3) / 8).
inline std::int64_t hidden_width(std::int64_t width, double ratio, const std::string& kind) {
  const double hidden = ratio * static_cast<double>(width);
  if (kind != "swiglu") return std::llround(hidden);
  return 8 * static_cast<std::int64_t>(std::ceil(hidden * (2.0 / 3) / 8));
}

/// With fresh weights; UsageError naming the kinds for another. A new kind is a class in nn/mlp.cpp and a
/// case in here.
std::unique_ptr<Mlp> make_mlp(const MlpConfig& config, Random& random);

}  // namespace vitral::nn
