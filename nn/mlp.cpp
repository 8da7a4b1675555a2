#include "nn/mlp.h"

namespace vitral::nn {
namespace {

using Activation = Variable (*)(const Variable&);

class TwoLayerMlp : public Mlp {
 public:
  /// f: between the layers; null: quick_gelu, in one pass with them.
  TwoLayerMlp(const MlpConfig& c, Activation f, Random& random)
      : c_fc_(child<Linear>("c_fc", c.width, c.hidden, random)),
        c_proj_(child<Linear>("c_proj", c.hidden, c.width, random)),
        f_(f) {}

  Variable operator()(const Variable& x) const override {
    if (f_) return c_proj_(f_(c_fc_(x)));
    return mlp(x, c_fc_.weight, c_fc_.bias, c_proj_.weight, c_proj_.bias, activations::quick_gelu);
  }

 private:
  Linear& c_fc_;
  Linear& c_proj_;
  Activation f_;
};

class GatedMlp : public Mlp {
 public:
  GatedMlp(const MlpConfig& c, Random& random)
      : w1_(child<Projection>("w1", c.width, c.hidden, random)),
        w2_(child<Projection>("w2", c.width, c.hidden, random)),
        w3_(child<Projection>("w3", c.hidden, c.width, random)) {}

  Variable operator()(const Variable& x) const override { return w3_(mul(silu(w1_(x)), w2_(x))); }

 private:
  Projection &w1_, &w2_, &w3_;
};

}  // namespace

std::unique_ptr<Mlp> make_mlp(const MlpConfig& config, Random& random) {
  if (config.kind == "quick_gelu") return std::make_unique<TwoLayerMlp>(config, nullptr, random);
  if (config.kind == "gelu") return std::make_unique<TwoLayerMlp>(config, gelu_erf, random);
  if (config.kind == "gelu_pytorch_tanh") return std::make_unique<TwoLayerMlp>(config, gelu, random);
  if (config.kind == "swiglu") return std::make_unique<GatedMlp>(config, random);
  throw_error<UsageError>("mlp: {} is none of quick_gelu, gelu, gelu_pytorch_tanh and swiglu", config.kind);
}

}  // namespace vitral::nn
