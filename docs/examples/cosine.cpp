// A pointwise operation as docs/architecture.md adds it: a functor, whose derivative is checked here. A row
// of VITRAL_POINTWISE_OPS would make the kernels and the graph node of it.
#include <cmath>

#include "tensor/ops/pointwise.h"

struct Cos {
  template <class A>
  VITRAL_HD static A value(const A& x) {
    using std::cos;
    return cos(x);
  }
  template <class A>
  VITRAL_HD static A derivative(const A& x) {
    using std::sin;
    return -sin(x);
  }
};

int main() {
  const double x = 0.7, step = 1e-6;
  const double slope = (Cos::value(x + step) - Cos::value(x - step)) / (2 * step);
  return std::abs(slope - Cos::derivative(x)) < 1e-8 ? 0 : 1;
}
