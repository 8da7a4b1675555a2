// Shape of a tensor: up to 8 dimensions, row-major, batch first.
// Legend used all over vitral: B batch, N tokens, W width, H heads, D head size, V views, C channels or
// concepts.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "base/error.h"

namespace vitral {

class Shape {
 public:
  static constexpr int max_rank = 8;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  /// dim(-1) is the last dimension. Throws UsageError out of range.
  std::int64_t dim(int axis) const;
  std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(axis)]; }
  std::int64_t back() const { return dim(-1); }
  std::int64_t numel() const;
  const std::int64_t* begin() const { return dims_.data(); }
  const std::int64_t* end() const { return dims_.data() + rank_; }

  /// The same shape with one dimension replaced / appended / removed; negative axes count from the end.
  Shape with(int axis, std::int64_t size) const;
  Shape append(std::int64_t size) const;
  Shape without(int axis) const;
  /// Product of the dimensions [first, last).
  std::int64_t product(int first, int last) const;

  bool operator==(const Shape& other) const;
  std::string str() const;  // [8, 197, 128]

 private:
  void check_size() const;

  std::array<std::int64_t, max_rank> dims_{};
  int rank_ = 0;
};

}  // namespace vitral

#ifndef __CUDACC__
template <>
struct fmt::formatter<vitral::Shape> : fmt::formatter<std::string> {
  auto format(const vitral::Shape& shape, format_context& context) const {
    return formatter<std::string>::format(shape.str(), context);
  }
};
#endif
