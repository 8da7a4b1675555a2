// How fresh weights are drawn: as PyTorch draws them for these layers. float32 on the CPU.
#pragma once
#include "base/random.h"
#include "tensor/tensor.h"

namespace vitral::nn {

/// While one lives, the functions below make tensors of a shape but without memory, in this thread: for
/// modules whose weights come by Module::share_state() next. A configuration that claims more than its
/// weights have so costs nothing before they are compared.
class NoInit {
 public:
  NoInit();
  ~NoInit();
  NoInit(const NoInit&) = delete;
  NoInit& operator=(const NoInit&) = delete;

 private:
  bool before_;
};

/// Uniform in [-bound, bound).
Tensor uniform(const Shape& shape, double bound, Random& random);
/// Normal with mean 0.
Tensor normal(const Shape& shape, double std, Random& random);
/// Uniform in +-1/sqrt(fan_in), fan_in = the product of all dimensions after the first (PyTorch's default of
/// Linear and Conv2d).
Tensor fan_in_uniform(const Shape& shape, Random& random);
/// Uniform in +-sqrt(6 / (fan_in + fan_out)) for [fan_out, fan_in] (Glorot and Bengio 2010).
Tensor xavier_uniform(const Shape& shape, Random& random);

}  // namespace vitral::nn
