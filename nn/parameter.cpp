#include "nn/parameter.h"

#include "autograd/ops.h"
#include "tensor/ops/convert.h"
#include "tensor/ops/linear_int8.h"

namespace vitral::nn {

Weight Parameter::as_matrix() const {
  if (weight_.quantized())
    return {Variable(value().reshape({dim(0), -1})), {}, weight_.packed, weight_.scale};
  const Tensor& copy = weight_.copy;
  return {reshape(weight_.variable, {dim(0), -1}), copy.defined() ? copy.reshape({dim(0), -1}) : Tensor(),
          weight_.packed};
}

void Parameter::keep_copy(DType dtype) {
  weight_.copy = dtype == this->dtype() || weight_.quantized() ? Tensor() : value().cast(dtype);
  weight_.packed = {};
}

void Parameter::pack() {
  weight_.packed = {};
  const auto& pack = weight_.quantized() ? kernel::pack_int8 : kernel::pack_weight;
  if (!multiplied_ || !pack.implemented(device().kind)) return;
  pack(weight_.packed, weight_.as(weight_.product_dtype()).reshape({dim(0), -1}));
}

void Parameter::copy_from(const Tensor& source) {
  auto [value, copy] = write();
  value.copy_from(source.dtype() == dtype() ? source : source.to(cpu).cast(dtype()));
  if (copy.defined()) kernel::convert(copy, value);
}

void Parameter::replace(Variable variable, Tensor scale) {
  VITRAL_CHECK(variable.shape() == shape(), "parameter: {} does not become {}", shape(), variable.shape());
  const DType read = weight_.product_dtype();
  const bool copied = weight_.copy.defined();
  VITRAL_CHECK(scale.defined() == (variable.dtype() == DType::int8) && (!scale.defined() || multiplied_),
               "parameter: only a weight of a linear layer becomes int8, and with scales");
  weight_ = {std::move(variable), {}, {}, std::move(scale)};
  if (copied) keep_copy(read);
}

Parameter::Writable Parameter::write() {
  weight_.packed = {};
  return {value(), weight_.copy};
}

}  // namespace vitral::nn
