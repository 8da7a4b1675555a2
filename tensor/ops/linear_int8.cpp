#include "tensor/ops/linear_int8.h"

#include "tensor/ops/binary.h"

namespace vitral {

Tensor dequantize(const Tensor& q, const Tensor& scale) {
  const std::int64_t rows = q.dim(0), columns = q.shape().product(1, q.rank());
  Tensor out({rows, columns});
  kernel::binary(out, q.cast(DType::float32).reshape({rows, columns}), scale.reshape({rows, 1}),
                 BinaryOp::mul);
  return out.reshape(q.shape());
}

}  // namespace vitral
