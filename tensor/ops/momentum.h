// Optimisers that keep one tensor m beside a parameter; tensor/ops/update.h has what they are a part of.
// State of an item: m.
#pragma once
#include <cmath>

#include "tensor/ops/pointwise.h"
#include "tensor/ops/update.h"

namespace vitral {

/// The formulas, for one element on any device. decay: 1 - lr weight_decay.
namespace momentum {

template <class T>
VITRAL_HD T multiply_add(T a, T b, T c) {
#ifdef __CUDACC__
  return std::fma(a, b, c);  // written out: the same bits for packs and single elements
#else
  return a * b + c;
#endif
}

struct Sgd {
  static constexpr const char* name = "sgd";
  template <class T>
  VITRAL_HD static void update(T& p, T& m, T g, T lr, T decay) {
    m = multiply_add(T(0.9), m, g);
    p = multiply_add(-lr, m, p * decay);
  }
};

struct Lion {
  static constexpr const char* name = "lion";
  template <class T>
  VITRAL_HD static void update(T& p, T& m, T g, T lr, T decay) {
    const T direction = multiply_add(T(0.9), m, T(0.1) * g);
    const T sign = static_cast<T>(direction > 0) - static_cast<T>(direction < 0);
    p = multiply_add(-lr, sign, p * decay);
    m = multiply_add(T(0.99), m, T(0.01) * g);
  }
};

struct Nesterov {
  static constexpr const char* name = "nesterov";
  template <class T>
  VITRAL_HD static void update(T& p, T& m, T g, T, T) {
    m = multiply_add(T(0.95), m, g);
    p = multiply_add(T(0.95), m, g);
  }
};

struct Descend {
  static constexpr const char* name = "descend";
  template <class T>
  VITRAL_HD static void update(T& p, T& m, T, T lr, T decay) {
    p = multiply_add(-lr, m, p * decay);
  }
};

}  // namespace momentum

namespace kernel {

using MomentumKernel = Kernel<void(std::span<const UpdateItem> items, const Tensor& control,
                                   const Tensor& steps, double weight_decay, double average_weight)>;

/// Stochastic gradient descent with momentum (Polyak 1964), its decay decoupled:
///   p *= 1 - lr weight_decay;  m = 0.9 m + g;  p -= lr m
inline constinit MomentumKernel sgd{momentum::Sgd::name};

/// Lion (Chen et al. 2023, arXiv 2302.06675); sign(0) is 0:
///   p *= 1 - lr weight_decay;  p -= lr sign(0.9 m + 0.1 g);  m = 0.99 m + 0.01 g
inline constinit MomentumKernel lion{momentum::Lion::name};

// The two halves of Muon; between them are products of matrices (train/muon.h).

/// The item's p is no parameter, but becomes the direction that is then made orthogonal:
///   m = 0.95 m + g;  p = g + 0.95 m
inline constinit MomentumKernel nesterov{momentum::Nesterov::name};

/// The item's state is such a direction d, which stays; g is not looked at:
///   p *= 1 - lr weight_decay;  p -= lr d
inline constinit MomentumKernel descend{momentum::Descend::name};

/// Calls f with each formula and its kernel: what a backend registers.
template <class F>
bool for_momentum_kernels(F&& f) {
  return f(momentum::Sgd{}, sgd) && f(momentum::Lion{}, lion) && f(momentum::Nesterov{}, nesterov) &&
         f(momentum::Descend{}, descend);
}

}  // namespace kernel
}  // namespace vitral
