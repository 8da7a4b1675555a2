#include "tensor/ops/linear_int8.h"

#include <algorithm>
#include <cmath>

#include "tensor/ops/binary.h"

namespace vitral {

QuantizedWeight quantize(const Tensor& weight) {
  const std::int64_t rows = weight.dim(0), columns = weight.shape().product(1, weight.rank());
  const Tensor floats = weight.cast(DType::float32);
  QuantizedWeight out{Tensor(weight.shape(), DType::int8), Tensor({rows})};
  for (std::int64_t o = 0; o < rows; ++o) {
    const float* row = floats.data<float>() + o * columns;
    float largest = 0;
    for (std::int64_t i = 0; i < columns; ++i) largest = std::max(largest, std::fabs(row[i]));
    const float scale = largest < int8_smallest_token ? 1 : largest / 127;
    out.scale.data<float>()[o] = scale;
    std::transform(row, row + columns, out.q.data<std::int8_t>() + o * columns,
                   [=](float w) { return static_cast<std::int8_t>(std::nearbyint(w / scale)); });
  }
  return out;
}

Tensor dequantize(const Tensor& q, const Tensor& scale) {
  const std::int64_t rows = q.dim(0), columns = q.shape().product(1, q.rank());
  Tensor out({rows, columns});
  kernel::binary(out, q.cast(DType::float32).reshape({rows, columns}), scale.reshape({rows, 1}),
                 BinaryOp::mul);
  return out.reshape(q.shape());
}

}  // namespace vitral
