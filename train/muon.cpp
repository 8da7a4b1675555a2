#include "train/muon.h"

#include <algorithm>
#include <cmath>

#include "tensor/ops/binary.h"
#include "tensor/ops/gemm.h"
#include "tensor/ops/momentum.h"
#include "tensor/ops/pointwise.h"
#include "tensor/ops/reduce.h"

namespace vitral::train {
namespace {

constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
constexpr int newton_schulz_steps = 5;

bool is_matrix_of_block(const nn::NamedParameter& parameter) {
  return parameter.value->rank() == 2 && parameter.name.find("transformer.resblocks.") != std::string::npos;
}

// |d| + 1e-7 [1], of the dtype of d.
Tensor length(const Tensor& d) {
  Tensor norm = Tensor::zeros({1}, DType::float64, d.device());
  kernel::add_sum_of_squares(norm, d);
  kernel::sqrt(norm, norm);
  kernel::affine(norm, norm, 1, 1e-7);
  return norm.cast(d.dtype());
}

}  // namespace

// In z = c^(1/4) x the third coefficient is 1, so that the sums of a step are made by the products:
// s = z z^T;  t = b / sqrt(c) s + s s;  z = a z + t z.
Tensor orthogonalized(const Tensor& d, double factor) {
  const bool tall = d.dim(0) > d.dim(1);
  const std::int64_t side = std::min(d.dim(0), d.dim(1));
  const double unit = std::pow(c, 0.25);
  const auto like = [&](const Shape& shape) { return Tensor(shape, d.dtype(), d.device()); };
  Tensor z = like(d.shape()), next = like(d.shape()), s = like({side, side}), t = like({side, side});
  kernel::binary(z, d, length(d), BinaryOp::div);
  kernel::affine(z, z, unit, 0);
  for (int i = 0; i < newton_schulz_steps; ++i) {
    kernel::gemm(s, z, z, {.transpose_a = tall, .transpose_b = !tall});
    kernel::affine(t, s, b / std::sqrt(c), 0);
    kernel::gemm(t, s, s, {.accumulate = true});
    kernel::affine(next, z, a, 0);
    if (tall)
      kernel::gemm(next, z, t, {.accumulate = true});
    else
      kernel::gemm(next, t, z, {.accumulate = true});
    std::swap(z, next);
  }
  kernel::affine(z, z, factor / unit, 0);
  return z;
}

Muon::Muon(const nn::Module& module, const AdamWOptions& options, bool decay_matrices_only)
    : AdamW(module, options, decay_matrices_only) {
  for (const auto& parameter : module.parameters()) is_matrix_.push_back(is_matrix_of_block(parameter));
}

std::vector<std::string> Muon::state_names(const nn::NamedParameter& parameter) const {
  if (is_matrix_of_block(parameter)) return {"momentum_buffer"};
  return AdamW::state_names(parameter);
}

// In a step that does not count d stays what the memory held, and nobody looks at what becomes of it.
void Muon::apply(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
                 double weight_decay, double average_weight) {
  std::vector<UpdateItem> others;
  for (const UpdateItem& item : items) {
    if (!is_matrix_[static_cast<std::size_t>(item.slot)]) {
      others.push_back(item);
      continue;
    }
    const Shape& shape = item.p.shape();
    UpdateItem half{.p = Tensor(shape, item.p.dtype(), item.p.device()),
                    .g = item.g,
                    .state = {item.state[0]},
                    .average = {},
                    .copy = {},
                    .slot = item.slot};
    kernel::nesterov({&half, 1}, control, steps, 0, 0);
    const auto longest = static_cast<double>(std::max(shape[0], shape[1]));
    const Tensor direction = orthogonalized(half.p, 0.2 * std::sqrt(longest));
    half = item;
    half.state = {direction};
    kernel::descend({&half, 1}, control, steps, weight_decay, average_weight);
  }
  AdamW::apply(others, control, steps, weight_decay, average_weight);
}

}  // namespace vitral::train
