// Inside data/hdf5 only: how what an H5Library takes and answers travels between processes.
#pragma once
#include <span>
#include <string>

#include "base/process/channel.h"
#include "data/hdf5/file.h"
#include "tensor/tensor.h"

namespace vitral {

namespace data {
/// Over memory of its own, which no other thread has a hand in: a child has none of the allocator's.
Tensor tensor_of_own(const Shape& shape, DType dtype);
}  // namespace data

template <>
struct Wire<DType> {
  static void put(Channel& channel, DType dtype) { vitral::put(channel, static_cast<std::uint8_t>(dtype)); }
  static DType get(Channel& channel) {
    return static_cast<DType>(
        std::min(vitral::get<std::uint8_t>(channel), static_cast<std::uint8_t>(DType::int64)));
  }
};

template <>
struct Wire<Shape> {
  static void put(Channel& channel, const Shape& shape) {
    vitral::put(channel, std::vector<std::int64_t>(shape.begin(), shape.end()));
  }
  static Shape get(Channel& channel) {
    const auto dims = vitral::get<std::vector<std::int64_t>>(channel);
    return Shape(std::span(dims.begin(), dims.end()));
  }
};

template <>
struct Wire<Tensor> {
  static void put(Channel& channel, const Tensor& tensor) {
    vitral::put(channel, tensor.shape());
    vitral::put(channel, tensor.dtype());
    channel.write(tensor.raw(), tensor.bytes());
  }
  static Tensor get(Channel& channel) {
    const auto shape = vitral::get<Shape>(channel);
    Tensor tensor = data::tensor_of_own(shape, vitral::get<DType>(channel));
    channel.read(tensor.raw(), tensor.bytes());
    return tensor;
  }
};

}  // namespace vitral
