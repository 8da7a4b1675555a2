#include "nn/mlp.h"

namespace vitral::nn {
namespace {

class TwoLayerMlp : public Mlp {
 public:
  TwoLayerMlp(const MlpConfig& c, Random& random)
      : c_fc_(child<Linear>("c_fc", c.width, c.hidden, random)),
        c_proj_(child<Linear>("c_proj", c.hidden, c.width, random)),
        activation_(c.activation) {}

  Variable operator()(const Variable& x) const override {
    const Variable h = c_fc_(x);
    if (activation_ == Activation::gelu_erf) return c_proj_(gelu_erf(h));
    if (activation_ == Activation::gelu) return c_proj_(gelu(h));
    return activation_linear(h, c_proj_.weight, c_proj_.bias, activations::quick_gelu);
  }

 private:
  Linear& c_fc_;
  Linear& c_proj_;
  Activation activation_;
};

}  // namespace

std::unique_ptr<Mlp> make_mlp(const MlpConfig& config, Random& random) {
  return std::make_unique<TwoLayerMlp>(config, random);
}

}  // namespace vitral::nn
