// What an optimiser step does to one parameter tensor.
#pragma once
#include "tensor/kernel.h"

namespace vitral {

struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
};

namespace kernel {

/// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), with PyTorch's bias correction. t is the number of
/// this step, from 1; gradients are multiplied by gradient_scale first (clipping, accumulation).
///   p *= 1 - lr weight_decay;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
inline constinit Kernel<void(Tensor& p, Tensor& m, Tensor& v, const Tensor& g, AdamWOptions options,
                             std::int64_t t, double gradient_scale)>
    adamw{"adamw"};
/// y += weight (x - y): the exponential moving average of the weights, weight = 1 - decay.
inline constinit Kernel<void(Tensor& y, const Tensor& x, double weight)> lerp{"lerp"};

}  // namespace kernel
}  // namespace vitral
