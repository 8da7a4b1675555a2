#include "tensor/shape.h"

#include <algorithm>

#include "base/error.h"

namespace vitral {

Shape::Shape(std::span<const std::int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  VITRAL_CHECK(rank_ <= max_rank, "shape: {} dimensions, at most {} are supported", rank_, max_rank);
  std::copy(dims.begin(), dims.end(), dims_.begin());
  for (auto d : dims) VITRAL_CHECK(d >= 0, "shape: dimension {} in {} must not be negative", d, str());
  check_size();
}

void Shape::check_size() const {
  constexpr std::int64_t limit = std::int64_t{1} << 59;  // bytes of float64, with room for rounding up
  std::int64_t n = 1;
  for (auto d : *this) {
    const bool overflow = __builtin_mul_overflow(n, std::max<std::int64_t>(d, 1), &n);
    VITRAL_CHECK(!overflow && n <= limit, "shape: {} has more elements than any memory", str());
  }
}

std::int64_t Shape::dim(int axis) const {
  const int a = axis < 0 ? axis + rank_ : axis;
  VITRAL_CHECK(a >= 0 && a < rank_, "shape: axis {} is out of range for {}", axis, str());
  return dims_[static_cast<std::size_t>(a)];
}

std::int64_t Shape::numel() const { return product(0, rank_); }

std::int64_t Shape::product(int first, int last) const {
  std::int64_t n = 1;
  for (int i = first; i < last; ++i) n *= dims_[static_cast<std::size_t>(i)];
  return n;
}

Shape Shape::with(int axis, std::int64_t size) const {
  static_cast<void>(dim(axis));
  Shape s = *this;
  s.dims_[static_cast<std::size_t>(axis < 0 ? axis + rank_ : axis)] = size;
  s.check_size();
  return s;
}

Shape Shape::append(std::int64_t size) const {
  VITRAL_CHECK(rank_ < max_rank, "shape: {} has no room for another dimension", str());
  Shape s = *this;
  s.dims_[static_cast<std::size_t>(s.rank_++)] = size;
  s.check_size();
  return s;
}

Shape Shape::without(int axis) const {
  static_cast<void>(dim(axis));
  const int a = axis < 0 ? axis + rank_ : axis;
  Shape s;
  for (int i = 0; i < rank_; ++i)
    if (i != a) s.dims_[static_cast<std::size_t>(s.rank_++)] = dims_[static_cast<std::size_t>(i)];
  return s;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string Shape::str() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string(dims_[static_cast<std::size_t>(i)]);
  return s + "]";
}

}  // namespace vitral
