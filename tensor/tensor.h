// Tensor: shape, dtype, device and shared storage. Always contiguous and row-major; copying a Tensor shares
// its memory (clone() copies the elements). tensor/ knows nothing of gradients.
//
//   Tensor x = Tensor::zeros({8, 64, 528});              // float32 on the CPU
//   float* p = x.data<float>();
//   Tensor rows = x.rows(2, 4);                          // [2, 64, 528], the same memory
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"
#include "tensor/storage.h"

namespace vitral {

class Tensor {
 public:
  Tensor() = default;  // undefined: no shape, no memory
  /// Elements are uninitialised.
  explicit Tensor(const Shape& shape, DType dtype = DType::float32, Device device = cpu);

  static Tensor zeros(const Shape& shape, DType dtype = DType::float32, Device device = cpu);
  static Tensor full(const Shape& shape, double value, DType dtype = DType::float32, Device device = cpu);
  /// In host memory that a GPU copies from and to while the host goes on (copy_async, tensor/stream.h); plain
  /// memory where there is no GPU.
  static Tensor pinned(const Shape& shape, DType dtype = DType::float32);
  /// Over memory on the CPU that `owner` keeps: it lives until the last tensor in it is gone. `data` holds
  /// all elements, and lies at a multiple of their size (or UsageError).
  static Tensor over(void* data, const Shape& shape, DType dtype, std::shared_ptr<const void> owner);
  /// Copies `values` (as many as the shape holds, or UsageError).
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape) {
    Tensor t(shape, dtype_of<T>);
    t.copy_from_host(values.data(), values.size());
    return t;
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    return from(std::span<const T>(values), shape);
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(int axis) const { return shape_.dim(axis); }
  int rank() const { return shape_.rank(); }
  std::int64_t numel() const { return defined() ? shape_.numel() : 0; }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  bool pinned() const { return defined() && storage_->pinned(); }

  void* raw() const;
  /// Typed pointer; throws UsageError when T is not the dtype.
  template <class T>
  T* data() const {
    VITRAL_CHECK(dtype_of<T> == dtype_, "tensor: asked for {} data of a {} tensor", name(dtype_of<T>),
                 name(dtype_));
    return static_cast<T*>(raw());
  }

  /// The same elements under another shape; one dimension may be -1. Shares memory.
  Tensor reshape(const Shape& shape) const;
  Tensor reshape(std::initializer_list<std::int64_t> dims) const;
  /// Rows [begin, end) of the first dimension. Shares memory.
  Tensor rows(std::int64_t begin, std::int64_t end) const;
  Tensor clone() const;
  Tensor to(Device device) const;        // the same tensor when already there
  Tensor cast(DType dtype) const;        // the same tensor when already so
  void copy_from(const Tensor& source);  // same shape and dtype, any device
  void fill(double value);

  /// The one element of a tensor of one element, as double.
  double item() const;
  std::vector<double> to_vector() const;  // all elements as double, from any dtype and device

  bool shares_memory_with(const Tensor& other) const { return defined() && storage_ == other.storage_; }
  /// True when no other Tensor holds this memory, so that it may be written in place.
  bool exclusive() const { return storage_.use_count() == 1; }

 private:
  void copy_from_host(const void* data, std::size_t count);

  Shape shape_;
  DType dtype_ = DType::float32;
  Device device_;
  std::shared_ptr<Storage> storage_;
  std::size_t offset_ = 0;  // bytes
};

}  // namespace vitral
