#include "tensor/ops/drop_path.h"

#include "autograd/ops.h"

namespace vitral {
namespace {

Tensor dropped(const Tensor& x, double rate, const SampleDraws& draws) {
  Tensor y(x.shape(), x.dtype(), x.device());
  if (x.numel() == 0) return y;
  Tensor rows = y.reshape({x.dim(0), -1});
  kernel::drop_path(rows, x.reshape({x.dim(0), -1}), rate, draws);
  return y;
}

}  // namespace

Variable drop_path(const Variable& x, double rate, const SampleDraws& draws) {
  check_input("drop_path", x);
  VITRAL_CHECK(x.rank() >= 1, "drop_path: x {} must have at least 1 dimension", x.shape());
  VITRAL_CHECK(rate >= 0 && rate < 1, "drop_path: rate {} must be in [0, 1)", rate);
  const Tensor& step = draws.step;
  VITRAL_CHECK(!step.defined() ||
                   (step.dtype() == DType::int64 && step.shape() == Shape{1} && step.device() == x.device()),
               "drop_path: step {} {} on {} must be int64 [1] on {}", step.dtype(), step.shape(),
               step.device().str(), x.device().str());
  return make_result(
      "drop_path", dropped(x.value(), rate, draws), {x},
      [rate, draws](const Tensor& dy, Gradients& gradients) { gradients.add(0, dropped(dy, rate, draws)); });
}

}  // namespace vitral
