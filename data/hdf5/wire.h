// Inside data/hdf5 only: how what an H5Library takes and answers travels between processes.
#pragma once
#include <span>
#include <string>

#include "base/wire.h"
#include "data/hdf5/file.h"
#include "tensor/tensor.h"

namespace vitral {

namespace data {
/// Over memory of its own, which no other thread has a hand in: a child has none of the allocator's.
Tensor tensor_of_own(const Shape& shape, DType dtype);
}  // namespace data

template <>
struct Wire<DType> {
  template <class Stream>
  static void put(Stream& stream, DType dtype) {
    vitral::put(stream, static_cast<std::uint8_t>(dtype));
  }
  template <class Stream>
  static DType get(Stream& stream) {
    return static_cast<DType>(
        std::min(vitral::get<std::uint8_t>(stream), static_cast<std::uint8_t>(DType::int8)));
  }
};

template <>
struct Wire<Shape> {
  template <class Stream>
  static void put(Stream& stream, const Shape& shape) {
    vitral::put(stream, std::vector<std::int64_t>(shape.begin(), shape.end()));
  }
  template <class Stream>
  static Shape get(Stream& stream) {
    const auto dims = vitral::get<std::vector<std::int64_t>>(stream);
    return Shape(std::span(dims.begin(), dims.end()));
  }
};

template <>
struct Wire<Tensor> {
  template <class Stream>
  static void put(Stream& stream, const Tensor& tensor) {
    vitral::put(stream, tensor.shape());
    vitral::put(stream, tensor.dtype());
    stream.write(tensor.raw(), tensor.bytes());
  }
  template <class Stream>
  static Tensor get(Stream& stream) {
    const auto shape = vitral::get<Shape>(stream);
    Tensor tensor = data::tensor_of_own(shape, vitral::get<DType>(stream));
    stream.read(tensor.raw(), tensor.bytes());
    return tensor;
  }
};

}  // namespace vitral
