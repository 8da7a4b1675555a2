// Pointwise operations of one tensor. Adding one: a functor here and a row in the list below; the list
// generates the CPU loop (tensor/cpu/pointwise.cpp), the graph node (autograd/pointwise.cpp) and, in a build
// with CUDA, its kernel.
//
// A functor is written once for host and device. A is a number, or on the CPU a small Eigen::Array of them
// that the compiler keeps in vector registers; scalar_t<A> is the number type either way.
//   value(x)       f(x)
//   derivative(x)  f'(x)
//   plain          optional, true: the CPU calls it with numbers, in a loop that the compiler vectorises for
//                  each processor (base/clones.h), so it must be plain arithmetic
#pragma once
#include <cmath>

#include "tensor/kernel.h"
#include "tensor/ops/fast_math.h"

#ifdef __CUDACC__
#define VITRAL_HD __host__ __device__ inline
#else
#define VITRAL_HD VITRAL_INLINE
#endif

namespace vitral::pointwise {

template <class A>
struct scalar_of {
  using type = A;
};
template <class A>
requires requires { typename A::Scalar; }
struct scalar_of<A> {
  using type = typename A::Scalar;
};
template <class A>
using scalar_t = typename scalar_of<A>::type;

template <class A>
VITRAL_HD A positive_part(const A& x) {
  if constexpr (requires { x.max(x); })
    return x.max(scalar_t<A>(0));
  else
    return x < A(0) ? A(0) : x;  // a NaN stays one
}

/// 1 where x > 0, else 0.
template <class A>
VITRAL_HD A step(const A& x) {
  if constexpr (requires { x.max(x); })
    return (x > scalar_t<A>(0)).template cast<scalar_t<A>>();
  else
    return x > A(0) ? A(1) : A(0);
}

/// c, as many times as x has elements.
template <class A>
VITRAL_HD A constant_like(const A&, double c) {
  if constexpr (requires { A::Constant(scalar_t<A>(c)); })
    return A::Constant(scalar_t<A>(c));
  else
    return A(c);
}

struct Neg {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    return -x;
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    return constant_like(x, -1);
  }
};

struct Exp {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    using std::exp;
    return exp(x);
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    return value(x);
  }
};

struct Log {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    using std::log;
    return log(x);
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    return scalar_t<A>(1) / x;
  }
};

struct Sqrt {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    using std::sqrt;
    // Eigen's own vectorised sqrt makes infinity a NaN; the compiler vectorises this one, too.
    if constexpr (requires { x.max(x); })
      return x.unaryExpr([](scalar_t<A> v) { return std::sqrt(v); });
    else
      return sqrt(x);
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    return scalar_t<A>(0.5) / value(x);
  }
};

struct Square {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    return x * x;
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    return scalar_t<A>(2) * x;
  }
};

/// |x|; derivative 0 at 0, as PyTorch.
struct Abs {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    using std::abs;
    return abs(x);
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    return step(x) - step(A(-x));
  }
};

struct Tanh {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    using std::tanh;
    return tanh(x);
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    const A y = value(x);
    return scalar_t<A>(1) - y * y;
  }
};

struct Sigmoid {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    using std::exp;
    return scalar_t<A>(1) / (scalar_t<A>(1) + exp(-x));
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    const A y = value(x);
    return y * (scalar_t<A>(1) - y);
  }
};

struct Relu {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    return positive_part(x);
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    return step(x);
  }
};

/// x sigmoid(a x): SiLU for a = 1, CLIP's QuickGELU for a = 1.702 (Hendrycks and Gimpel 2016, arXiv
/// 1606.08415).
template <int thousandths>
struct Swish {
  static constexpr bool plain = true;
  template <class A>
  VITRAL_HD static A value(const A& x) {
    return x * gate(x);
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    const A s = gate(x);
    return s * (A(1) + A(slope) * x * (A(1) - s));
  }
  template <class A>
  VITRAL_HD static A gate(const A& x) {
#ifndef __CUDACC__  // a GPU has an exponential of its own
    if constexpr (std::is_same_v<A, float>) return gate_of_exp(static_cast<float>(-slope) * x);
#endif
    return Sigmoid::value(A(x * A(slope)));
  }
  static constexpr double slope = thousandths / 1000.0;
};
using Silu = Swish<1000>;
using QuickGelu = Swish<1702>;

/// GELU in its tanh form: x/2 (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3), which is x sigmoid(2 u).
struct Gelu {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    return x * Sigmoid::value(twice_inner(x));
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    using S = scalar_t<A>;
    const A u = twice_inner(x), s = Sigmoid::value(u);
    return s + x * s * Sigmoid::value(A(-u)) * S(2 * 0.7978845608028654) * (S(1) + S(3 * 0.044715) * x * x);
  }
  template <class A>
  VITRAL_HD static A twice_inner(const A& x) {
    return scalar_t<A>(2 * 0.7978845608028654) * (x + scalar_t<A>(0.044715) * x * x * x);
  }
};

/// GELU itself (Hendrycks and Gimpel 2016, arXiv 1606.08415): x/2 (1 + erf(x / sqrt(2))).
struct GeluErf {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    return x * normal_cdf(x);
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    using S = scalar_t<A>;
    const A near = bounded(x);  // infinity times the density, which is 0 there, would be a NaN
    return normal_cdf(x) + near * S(0.3989422804014327) * Exp::value(A(near * near * S(-0.5)));
  }
  template <class A>
  VITRAL_HD static A normal_cdf(const A& x) {
    using S = scalar_t<A>;
    using std::erf;
    if constexpr (requires { x.erf(); })
      return S(0.5) * (S(1) + (x * S(0.7071067811865476)).erf());
    else
      return S(0.5) * (S(1) + erf(x * S(0.7071067811865476)));
  }
  template <class A>
  VITRAL_HD static A bounded(const A& x) {
    using S = scalar_t<A>;
    if constexpr (requires { x.max(x); })
      return x.max(S(-100)).min(S(100));
    else
      return x < A(-100) ? A(-100) : x > A(100) ? A(100) : x;
  }
};

}  // namespace vitral::pointwise

/// The list: OP(name, functor). The activations can stand between two layers (tensor/ops/linear.h).
#define VITRAL_ACTIVATIONS(OP) \
  OP(relu, Relu)               \
  OP(silu, Silu)               \
  OP(gelu, Gelu)               \
  OP(gelu_erf, GeluErf)        \
  OP(quick_gelu, QuickGelu)
#define VITRAL_POINTWISE_OPS(OP) \
  OP(neg, Neg)                   \
  OP(exp, Exp)                   \
  OP(log, Log)                   \
  OP(sqrt, Sqrt)                 \
  OP(square, Square)             \
  OP(abs, Abs)                   \
  OP(tanh, Tanh)                 \
  OP(sigmoid, Sigmoid)           \
  VITRAL_ACTIVATIONS(OP)

namespace vitral {

using PointwiseKernel = Kernel<void(Tensor& y, const Tensor& x)>;
using PointwiseBackwardKernel = Kernel<void(Tensor& dx, const Tensor& dy, const Tensor& x)>;
using PointwiseBothKernel = Kernel<void(Tensor& y, Tensor& dx, const Tensor& dy, const Tensor& x)>;

namespace kernel {

// NAME: y = f(x).  NAME_backward: dx = dy f'(x); dx may be the same memory as dy.  All of one shape and
// floating dtype.
#define VITRAL_DECLARE(name, Functor)           \
  inline constinit PointwiseKernel name{#name}; \
  inline constinit PointwiseBackwardKernel name##_backward{#name "_backward"};
VITRAL_POINTWISE_OPS(VITRAL_DECLARE)
#undef VITRAL_DECLARE

// NAME_both: y = f(x) and dx = dy f'(x) in one pass over x, for the backward of a layer behind an activation.
// dx may be the same memory as dy.
#define VITRAL_DECLARE(name, Functor) inline constinit PointwiseBothKernel name##_both{#name "_both"};
VITRAL_ACTIVATIONS(VITRAL_DECLARE)
#undef VITRAL_DECLARE

}  // namespace kernel

/// What an operation that holds an activation needs of it.
struct ActivationKernels {
  const PointwiseKernel& value;
  const PointwiseBackwardKernel& backward;
  const PointwiseBothKernel& both;
};

namespace activations {
#define VITRAL_DEFINE(name, Functor) \
  inline constexpr ActivationKernels name{kernel::name, kernel::name##_backward, kernel::name##_both};
VITRAL_ACTIVATIONS(VITRAL_DEFINE)
#undef VITRAL_DEFINE
}  // namespace activations

}  // namespace vitral
