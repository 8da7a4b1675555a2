#include "tensor/tensor.h"

#include "tensor/backend.h"
#include "tensor/ops/convert.h"

namespace vitral {

Tensor::Tensor(const Shape& shape, DType dtype, Device device)
    : shape_(shape),
      dtype_(dtype),
      device_(device),
      storage_(std::make_shared<Storage>(static_cast<std::size_t>(shape.numel()) * size_of(dtype), device)) {}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t(shape, dtype, device);
  backend(device.kind).zero(t.raw(), t.bytes(), device.index);
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t(shape, dtype, device);
  t.fill(value);
  return t;
}

Tensor Tensor::pinned(const Shape& shape, DType dtype) {
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.storage_ = std::make_shared<Storage>(static_cast<std::size_t>(shape.numel()) * size_of(dtype), cpu,
                                         HostMemory::pinned);
  return t;
}

Tensor Tensor::over(void* data, const Shape& shape, DType dtype, std::shared_ptr<const void> owner) {
  VITRAL_CHECK(reinterpret_cast<std::uintptr_t>(data) % size_of(dtype) == 0,
               "tensor: memory of {} elements must lie at a multiple of {} bytes", name(dtype),
               size_of(dtype));
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.storage_ = std::make_shared<Storage>(data, static_cast<std::size_t>(shape.numel()) * size_of(dtype),
                                         std::move(owner));
  return t;
}

void* Tensor::raw() const {
  VITRAL_CHECK(defined(), "tensor: data of an undefined tensor");
  return static_cast<char*>(storage_->data()) + offset_;
}

Tensor Tensor::reshape(const Shape& shape) const {
  VITRAL_CHECK(shape.numel() == numel(), "reshape: {} has {} elements, {} has {}", shape_, numel(), shape,
               shape.numel());
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::reshape(std::initializer_list<std::int64_t> dims) const {
  std::vector<std::int64_t> sizes(dims);
  std::int64_t known = 1, *open = nullptr;
  for (auto& d : sizes) {
    if (d != -1) {
      known *= d;
      continue;
    }
    VITRAL_CHECK(!open, "reshape: only one dimension may be -1");
    open = &d;
  }
  if (open) {
    VITRAL_CHECK(known > 0 && numel() % known == 0, "reshape: {} has {} elements, not a multiple of {}",
                 shape_, numel(), known);
    *open = numel() / known;
  }
  return reshape(Shape(std::span<const std::int64_t>(sizes)));
}

Tensor Tensor::rows(std::int64_t begin, std::int64_t end) const {
  VITRAL_CHECK(rank() > 0 && 0 <= begin && begin <= end && end <= shape_[0],
               "rows: [{}, {}) is out of range for {}", begin, end, shape_);
  Tensor t = *this;
  t.shape_ = shape_.with(0, end - begin);
  t.offset_ += static_cast<std::size_t>(begin * shape_.product(1, rank())) * size_of(dtype_);
  return t;
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor t(shape_, dtype_, device_);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device device) const {
  if (!defined() || device == device_) return *this;
  Tensor t(shape_, dtype_, device);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::cast(DType dtype) const {
  if (!defined() || dtype == dtype_) return *this;
  Tensor t(shape_, dtype, device_);
  kernel::convert(t, *this);
  return t;
}

void Tensor::copy_from(const Tensor& source) {
  VITRAL_CHECK(source.shape_ == shape_ && source.dtype_ == dtype_, "copy: {} {} does not fit {} {}",
               name(source.dtype_), source.shape_, name(dtype_), shape_);
  const auto kind = device_.is_cpu() ? source.device_.kind : device_.kind;
  if (bytes() > 0) backend(kind).copy(raw(), device_, source.raw(), source.device_, bytes());
}

void Tensor::copy_from_host(const void* data, std::size_t count) {
  VITRAL_CHECK(count == static_cast<std::size_t>(numel()), "tensor: {} values do not fill {}", count, shape_);
  if (bytes() > 0) backend(device_.kind).copy(raw(), device_, data, cpu, bytes());
}

void Tensor::fill(double value) {
  if (numel() > 0) kernel::fill(*this, value);
}

double Tensor::item() const {
  VITRAL_CHECK(numel() == 1, "item: {} does not hold exactly one element", shape_);
  return *to(cpu).cast(DType::float64).data<double>();
}

std::vector<double> Tensor::to_vector() const {
  const Tensor host = to(cpu).cast(DType::float64);
  const double* p = host.data<double>();
  return {p, p + host.numel()};
}

}  // namespace vitral
