// A solution of the exercises of lesson 2.
#include "docs/course/exercises/02_exercise.h"

namespace exercise {

Dims strides(const Dims& shape) {
  Dims result(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) result[i - 1] = result[i] * shape[i];
  return result;
}

std::int64_t offset(const Dims& index, const Dims& strides) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < index.size(); ++i) sum += index[i] * strides[i];
  return sum;
}

std::vector<float> permute(const std::vector<float>& x, const Dims& shape,
                           const std::vector<std::size_t>& axes) {
  const Dims from = strides(shape);
  Dims new_shape, steps;  // of x, in the order of the result's axes
  for (const std::size_t axis : axes) {
    new_shape.push_back(shape[axis]);
    steps.push_back(from[axis]);
  }
  const Dims to = strides(new_shape);
  std::vector<float> y;
  for (std::int64_t element = 0; element < static_cast<std::int64_t>(x.size()); ++element) {
    Dims index;
    for (std::size_t i = 0; i < axes.size(); ++i) index.push_back(element / to[i] % new_shape[i]);
    y.push_back(x[static_cast<std::size_t>(offset(index, steps))]);
  }
  return y;
}

std::size_t size_class(std::size_t bytes) {
  std::size_t power = 64;
  if (bytes <= power) return power;
  while (2 * power < bytes) power *= 2;
  const std::size_t step = power / (bytes > (std::size_t{1} << 20) ? 32 : 4);
  return (bytes + step - 1) / step * step;
}

}  // namespace exercise
