#include "data/transform.h"

#include "data/resize.h"

namespace vitral::data {

Tensor validation_transform(const Tensor& image, int size) {
  return resize(image, size, size, Filter::bilinear);
}

}  // namespace vitral::data
