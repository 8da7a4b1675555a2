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

}  // namespace vitral::nn
