// A float for results that are rounded to 8 bits afterwards: the hardware's exponential and division, 2 units
// in the 24th bit, where the exact ones would take longer than the memory. Functors of tensor/ops/pointwise.h
// compute in it for bfloat16.
#pragma once
#include "tensor/cuda/launch.h"

namespace vitral::cuda {

struct Coarse {
  float v = 0;
  Coarse() = default;
  __device__ explicit Coarse(double x) : v(static_cast<float>(x)) {}
  __device__ explicit Coarse(float x) : v(x) {}
  __device__ explicit Coarse(int x) : v(static_cast<float>(x)) {}
  __device__ explicit operator float() const { return v; }

  __device__ friend Coarse operator-(Coarse a) { return Coarse(-a.v); }
  __device__ friend Coarse operator+(Coarse a, Coarse b) { return Coarse(a.v + b.v); }
  __device__ friend Coarse operator-(Coarse a, Coarse b) { return Coarse(a.v - b.v); }
  __device__ friend Coarse operator*(Coarse a, Coarse b) { return Coarse(a.v * b.v); }
  __device__ friend Coarse operator/(Coarse a, Coarse b) { return Coarse(__fdividef(a.v, b.v)); }
  __device__ friend bool operator<(Coarse a, Coarse b) { return a.v < b.v; }
  __device__ friend bool operator>(Coarse a, Coarse b) { return a.v > b.v; }
  __device__ friend Coarse exp(Coarse a) { return Coarse(__expf(a.v)); }
  __device__ friend Coarse abs(Coarse a) { return Coarse(fabsf(a.v)); }

  // Whatever a functor may call.
#define VITRAL_FUNCTION(name) \
  __device__ friend Coarse name(Coarse a) { return Coarse(name##f(a.v)); }
  VITRAL_FUNCTION(log)
  VITRAL_FUNCTION(log1p)
  VITRAL_FUNCTION(expm1)
  VITRAL_FUNCTION(sqrt)
  VITRAL_FUNCTION(erf)
  VITRAL_FUNCTION(tanh)
  VITRAL_FUNCTION(sin)
  VITRAL_FUNCTION(cos)
#undef VITRAL_FUNCTION
};

}  // namespace vitral::cuda
