#include "nn/parameter.h"

#include "autograd/ops.h"
#include "tensor/ops/convert.h"
#include "tensor/ops/linear.h"

namespace vitral::nn {

Weight Parameter::as_matrix() const {
  const Tensor& copy = weight_.copy;
  return {reshape(weight_.variable, {dim(0), -1}), copy.defined() ? copy.reshape({dim(0), -1}) : Tensor(),
          weight_.packed};
}

void Parameter::keep_copy(DType dtype) {
  weight_.copy = dtype == this->dtype() ? Tensor() : value().cast(dtype);
  weight_.packed = {};
}

void Parameter::pack() {
  weight_.packed = {};
  if (!kernel::pack_weight.implemented(device().kind)) return;
  kernel::pack_weight(weight_.packed, weight_.as(weight_.product_dtype()).reshape({dim(0), -1}));
}

void Parameter::copy_from(const Tensor& source) {
  auto [value, copy] = write();
  value.copy_from(source.dtype() == dtype() ? source : source.to(cpu).cast(dtype()));
  if (copy.defined()) kernel::convert(copy, value);
}

void Parameter::replace(Variable variable) {
  VITRAL_CHECK(variable.shape() == shape(), "parameter: {} does not become {}", shape(), variable.shape());
  const DType read = weight_.product_dtype();
  const bool copied = weight_.copy.defined();
  weight_ = std::move(variable);
  if (copied) keep_copy(read);
}

Parameter::Writable Parameter::write() {
  weight_.packed = {};
  return {value(), weight_.copy};
}

}  // namespace vitral::nn
