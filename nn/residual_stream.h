// What flows through pre-norm residual blocks: the sum of all that the layers have added so far. A block
// reads as its formula,
//   s += attn(s.normed(ln_1));  s += mlp(s.normed(ln_2));
// and the last addition waits until the normalisation that follows it, which does both in one pass
// (add_layer_norm in autograd/ops.h), also where it is that of the next block.
#pragma once
#include <utility>

#include "nn/norm.h"

namespace vitral::nn {

class ResidualStream {
 public:
  /// x [B,N,W]
  explicit ResidualStream(Variable x) : sum_(std::move(x)) {}

  /// norm(sum) [B,N,W]
  Variable normed(const Norm& norm) {
    if (!pending_.defined()) return norm(sum_);
    SumAndNorm both = norm.add(sum_, std::exchange(pending_, {}));
    sum_ = std::move(both.sum);
    return std::move(both.norm);
  }

  ResidualStream& operator+=(Variable delta) {
    settle();
    pending_ = std::move(delta);
    return *this;
  }

  const Variable& sum() {
    settle();
    return sum_;
  }

 private:
  void settle() {
    if (pending_.defined()) sum_ = add(sum_, std::exchange(pending_, {}));
  }

  Variable sum_, pending_;
};

}  // namespace vitral::nn
