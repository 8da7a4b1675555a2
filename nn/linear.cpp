#include "nn/linear.h"

#include <cmath>

namespace vitral::nn {

Linear::Linear(std::int64_t in, std::int64_t out, Random& random)
    : weight(linear_weight("weight", fan_in_uniform({out, in}, random))),
      bias(parameter("bias", uniform({out}, 1 / std::sqrt(static_cast<double>(in)), random))) {}

Linear::Linear(std::int64_t in, std::int64_t out, Random& random, Tensor initial_bias)
    : weight(linear_weight("weight", fan_in_uniform({out, in}, random))),
      bias(parameter("bias", std::move(initial_bias))) {}

}  // namespace vitral::nn
