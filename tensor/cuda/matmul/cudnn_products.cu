#include <algorithm>
#include <array>
#include <initializer_list>

#include "tensor/cuda/cudnn/run.h"
#include "tensor/cuda/launch.h"
#include "tensor/cuda/matmul/fused.h"
#include "tensor/ops/pointwise.h"

namespace vitral::cuda {
namespace {

using cudnn::Graph;
using View = cudnn::View<3>;  // products of four dimensions have no fused kernels

/// Names of the tensors that a caller gives.
enum Id : std::int64_t { first = 1, second, vector, result, activation };

constexpr const char *forward_operation = "linear_activation",
                     *backward_operation = "activation_linear_backward";
constexpr auto bf16 = CUDNN_DATA_BFLOAT16;
constexpr double beta = pointwise::QuickGelu::slope;

bool all_aligned(std::initializer_list<const Tensor*> tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const Tensor* t) { return cudnn::aligned(*t); });
}

bool forward(Tensor& y, Tensor& a, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!all_aligned({&y, &a, &x, &weight, &bias})) return false;
  const std::int64_t rows = y.dim(0), out = y.dim(1), in = x.dim(1);
  const cudnn::Key key{forward_operation, {rows, out, in}};
  const cudnn::Plan* plan = cudnn::find_plan(y.device(), key, [&](Graph& g) {
    const View results = View::packed({1, rows, out});
    const auto product = g.matmul(g.between(results), g.tensor(first, bf16, View::packed({1, rows, in})),
                                  g.tensor(second, bf16, View::packed({1, out, in}).transposed()));
    const auto h = g.pointwise(g.tensor(result, bf16, results), CUDNN_POINTWISE_ADD, product,
                               g.tensor(vector, bf16, View::packed({1, 1, out})));
    g.swish(g.tensor(activation, bf16, results), h, beta);
  });
  if (!plan) return false;
  const std::array<cudnn::Argument, 5> arguments{{{first, x.raw()},
                                                  {second, weight.raw()},
                                                  {vector, bias.raw()},
                                                  {result, y.raw()},
                                                  {activation, a.raw()}}};
  cudnn::execute(forward_operation, *plan, arguments, x);
  return true;
}

bool backward(Tensor& dh, const Tensor& dy, const Tensor& weight, const Tensor& h) {
  if (!all_aligned({&dh, &dy, &weight, &h})) return false;
  const std::int64_t rows = dy.dim(0), out = dy.dim(1), in = h.dim(1);
  const cudnn::Key key{backward_operation, {rows, out, in}};
  const cudnn::Plan* plan = cudnn::find_plan(h.device(), key, [&](Graph& g) {
    const View results = View::packed({1, rows, in});
    const auto product = g.matmul(g.between(results), g.tensor(first, bf16, View::packed({1, rows, out})),
                                  g.tensor(second, bf16, View::packed({1, out, in})));
    g.swish_backward(g.tensor(result, bf16, results), product, g.tensor(activation, bf16, results), beta);
  });
  if (!plan) return false;
  const std::array<cudnn::Argument, 4> arguments{
      {{first, dy.raw()}, {second, weight.raw()}, {activation, h.raw()}, {result, dh.raw()}}};
  cudnn::execute(backward_operation, *plan, arguments, dy);
  return true;
}

constexpr FusedProducts of_cudnn{forward, backward, cudnn::version};
[[maybe_unused]] const bool registered = (fused_products = &of_cudnn) != nullptr;

}  // namespace
}  // namespace vitral::cuda
