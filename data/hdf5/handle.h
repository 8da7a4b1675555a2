// Inside data/ only: HDF5 identifiers that close themselves. Brings in hdf5.h.
#pragma once
#include <mutex>
#include <utility>

#include <hdf5.h>

#include "tensor/dtype.h"

namespace vitral::data {

class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() { close(); }
  operator hid_t() const { return id_; }
  /// False where what the library still held back could not be written. Writers must ask.
  bool close() { return id_ < 0 || close_(std::exchange(id_, -1)) >= 0; }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// IEEE half precision: HDF5 has no native type for it before 1.14.4. h5py reads this as float16.
hid_t float16_type();
/// The HDF5 type of a tensor's elements in memory.
hid_t memory_type(DType dtype);

/// Held around every call of the library, which this one opens where that has not been done: it takes one at
/// a time anyway, a build of it without thread safety needs this, and no fork must come in between. In this
/// thread it then reports nothing on stderr.
std::unique_lock<std::mutex> lock_hdf5();

}  // namespace vitral::data
