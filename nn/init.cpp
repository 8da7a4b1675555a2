#include "nn/init.h"

#include <cmath>
#include <vector>

namespace vitral::nn {
namespace {

thread_local bool no_init = false;

template <class F>
Tensor draw(const Shape& shape, F&& f) {
  if (no_init) return Tensor::over(nullptr, shape, DType::float32, nullptr);
  Tensor t(shape);
  for (float *p = t.data<float>(), *end = p + t.numel(); p != end; ++p) *p = static_cast<float>(f());
  return t;
}

}  // namespace

NoInit::NoInit() : before_(no_init) { no_init = true; }
NoInit::~NoInit() { no_init = before_; }

Tensor uniform(const Shape& shape, double bound, Random& random) {
  return draw(shape, [&] { return random.uniform(-bound, bound); });
}

Tensor normal(const Shape& shape, double std, Random& random) {
  return draw(shape, [&] { return std * random.normal(); });
}

Tensor fan_in_uniform(const Shape& shape, Random& random) {
  return uniform(shape, 1 / std::sqrt(static_cast<double>(shape.product(1, shape.rank()))), random);
}

Tensor xavier_uniform(const Shape& shape, Random& random) {
  return uniform(shape, std::sqrt(6 / static_cast<double>(shape[0] + shape[1])), random);
}

}  // namespace vitral::nn
