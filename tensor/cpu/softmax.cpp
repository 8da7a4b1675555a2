#include "tensor/ops/softmax.h"

#include <cmath>

#include "tensor/cpu/rows.h"

namespace vitral {
namespace {

void forward(Tensor& y, const Tensor& x) {
  cpu_kernels::for_rows(
      "softmax",
      [](auto out, const auto& in) {
        out = (in - in.maxCoeff()).exp();
        out /= out.sum();
      },
      y, x);
}

void backward(Tensor& dx, const Tensor& dy, const Tensor& y) {
  cpu_kernels::for_rows(
      "softmax_backward", [](auto out, const auto& g, const auto& p) { out = p * (g - (g * p).sum()); }, dx,
      dy, y);
}

// The sum is that of an expression, not of memory: the same bits wherever the row lies.
void logsumexp(Tensor& y, const Tensor& x) {
  cpu_kernels::for_rows(
      "logsumexp",
      [](auto out, const auto& in) {
        const auto maximum = in.maxCoeff();
        out[0] = maximum + std::log((in - maximum).exp().sum());
      },
      y, x);
}

const bool implemented = kernel::softmax.implement(Device::Kind::cpu, forward) &&
                         kernel::softmax_backward.implement(Device::Kind::cpu, backward) &&
                         kernel::logsumexp.implement(Device::Kind::cpu, logsumexp);

}  // namespace
}  // namespace vitral
