#include "tensor/ops/l2_normalize.h"

#include <cmath>

#include "tensor/cpu/rows.h"

namespace vitral {
namespace {

void forward(Tensor& y, const Tensor& x) {
  cpu_kernels::for_rows(
      "l2_normalize", [](auto out, const auto& in) { out = in / in.matrix().norm(); }, y, x);
}

void backward(Tensor& dx, const Tensor& dy, const Tensor& x) {
  cpu_kernels::for_rows(
      "l2_normalize_backward",
      [](auto out, const auto& g, const auto& in) {
        const auto squared = in.square().sum();
        out = (g - in * ((g * in).sum() / squared)) / std::sqrt(squared);
      },
      dx, dy, x);
}

const bool implemented = kernel::l2_normalize.implement(Device::Kind::cpu, forward) &&
                         kernel::l2_normalize_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
