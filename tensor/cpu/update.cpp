#include "tensor/ops/update.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "tensor/ops/reduce.h"

namespace vitral {
namespace {

void add_loss(Tensor& control, int slot, const Tensor& loss, double weight) {
  dispatch_float("add_loss", loss.dtype(), [&]<class T>(T) {
    control.data<double>()[slot] += weight * static_cast<double>(*loss.data<T>());
  });
}

void add_time(Tensor& sums, int slot, double sign) {
  const std::chrono::duration<double> now = std::chrono::steady_clock::now().time_since_epoch();
  sums.data<double>()[slot] += sign * now.count();
}

void sum_of_squares(Tensor& control, std::span<const Tensor> gradients) {
  Tensor total = Tensor::zeros({1}, DType::float64);
  for (const Tensor& g : gradients) kernel::add_sum_of_squares(total, g);
  control.data<double>()[update_squares] = *total.data<double>();
}

void begin_update(Tensor& control, Tensor& steps, std::span<const UpdateItem> items, double clip_norm) {
  double* c = control.data<double>();
  const double planned = c[update_planned], images = c[update_images];
  const double factor = planned > 0 && images > 0 ? planned / images : 1;
  c[update_loss] *= factor;
  for (int i = update_terms; i < update_slots; ++i) c[i] *= factor;
  c[update_squares] *= factor * factor;
  if (!std::isfinite(c[update_loss]) || !std::isfinite(c[update_squares]) || (planned > 0 && images == 0)) {
    c[update_scale] = 0;
    return;
  }
  c[update_scale] =
      factor * (clip_norm > 0 ? std::min(1.0, clip_norm / (std::sqrt(c[update_squares]) + 1e-6)) : 1.0);
  for (const UpdateItem& item : items) ++steps.data<std::int64_t>()[item.slot];
}

const bool implemented = kernel::add_loss.implement(Device::Kind::cpu, add_loss) &&
                         kernel::add_time.implement(Device::Kind::cpu, add_time) &&
                         kernel::sum_of_squares.implement(Device::Kind::cpu, sum_of_squares) &&
                         kernel::begin_update.implement(Device::Kind::cpu, begin_update);

}  // namespace
}  // namespace vitral
