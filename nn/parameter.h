// Parameter: a weight that is learned, and all that is kept beside it: its gradient, its value in another
// dtype (bfloat16, which products read in training) and its packing for inference. Whoever changes the value
// does it here, so that they never disagree: the copy follows, the packing goes until pack() makes it anew.
//
// Operations take a Parameter where they take a Variable or a Weight.
#pragma once
#include "autograd/weight.h"

namespace vitral::nn {

class Parameter {
 public:
  /// multiplied: whether it is a weight that linear() takes, which alone may be packed, or become int8.
  explicit Parameter(Tensor initial, bool multiplied = false)
      : weight_(Variable(std::move(initial), true)), multiplied_(multiplied) {}
  Parameter(const Parameter&) = delete;  // modules refer to theirs
  Parameter& operator=(const Parameter&) = delete;

  operator const Variable&() const { return weight_.variable; }
  operator const Weight&() const { return weight_; }
  /// [O,...] viewed as [O,I], which linear() multiplies.
  Weight as_matrix() const;

  const Tensor& value() const { return weight_.variable.value(); }
  /// Of an int8 value: float32 [O]; else undefined.
  const Tensor& scale() const { return weight_.scale; }
  bool multiplied() const { return multiplied_; }
  const Tensor& grad() const { return weight_.variable.grad(); }
  void zero_grad() { weight_.variable.zero_grad(); }
  const Shape& shape() const { return weight_.shape(); }
  std::int64_t dim(int axis) const { return weight_.dim(axis); }
  int rank() const { return weight_.rank(); }
  DType dtype() const { return weight_.dtype(); }
  Device device() const { return weight_.variable.device(); }

  /// Keeps the value in `dtype` beside it; nothing where it has that dtype, or is int8.
  void keep_copy(DType dtype);
  /// Orders it as products read it fastest, where the device has such an order: for linear() without
  /// gradients.
  void pack();

  /// Copies values in, converting the dtype, from any device. Value and copy stay where they are in memory.
  void copy_from(const Tensor& source);
  /// Becomes another variable of this shape: another device, dtype or memory. The gradient is that one's.
  /// int8 comes with its scales, and has no gradient.
  void replace(Variable variable, Tensor scale = {});
  /// Value and copy (undefined without one), for an optimiser that writes both in one pass.
  struct Writable {
    Tensor value, copy;
  };
  Writable write();

 private:
  Weight weight_;
  bool multiplied_;
};

}  // namespace vitral::nn
