// y = x weight^T + bias.
#pragma once
#include "nn/init.h"
#include "nn/module.h"

namespace vitral::nn {

class Linear : public Module {
 public:
  /// weight [out, in], bias [out], both uniform(+-1/sqrt(in)).
  Linear(std::int64_t in, std::int64_t out, Random& random);
  /// The same with a given first bias.
  Linear(std::int64_t in, std::int64_t out, Random& random, Tensor initial_bias);

  /// x [...,in] -> [...,out]
  Variable operator()(const Variable& x) const { return linear(x, weight, bias); }

  Parameter& weight;
  Parameter& bias;
};

/// The same without a bias: y = x weight^T.
class Projection : public Module {
 public:
  /// weight [out, in], uniform(+-1/sqrt(in)).
  Projection(std::int64_t in, std::int64_t out, Random& random)
      : weight(linear_weight("weight", fan_in_uniform({out, in}, random))) {}

  /// x [...,in] -> [...,out]
  Variable operator()(const Variable& x) const { return linear(x, weight, {}); }

  Parameter& weight;
};

}  // namespace vitral::nn
