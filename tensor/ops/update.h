// The control of an optimiser step, whatever its formula, for all parameters at once and without the host
// knowing any result: whether a step counts is decided where the gradients are.
//
//   control    float64 [update_slots] on the device of the parameters, one number an UpdateSlot
//   steps      int64 [P] there: how many steps each parameter has had, by UpdateItem::slot
//
//   control[update_lr] is set, control[update_loss] and the terms are 0
//   add_loss(control, update_loss, loss, weight)       for each micro-batch
//   sum_of_squares(control, gradients)
//   begin_update(control, steps, items, clip_norm)     does this step count, and how much of its gradients?
//   adamw(items, control, steps, options, ...)         the formula: tensor/ops/adamw.h, ...
//
// A formula reads lr = control[update_lr], t = steps[slot] and g times control[update_scale], does nothing
// where that is 0, and, when p has its new value, brings what follows p up to date:
//   average += average_weight (p - average);  copy = p
#pragma once
#include <array>
#include <span>

#include "tensor/kernel.h"

namespace vitral {

enum UpdateSlot : int {
  update_lr,       // in: learning rate of this step
  update_loss,     // in: sum of the weighted losses
  update_planned,  // in: images that losses and gradients were divided by, where that is settled later, or 0
  update_images,   // in: images that counted of them
  update_squares,  // sum of squares of all gradients
  update_scale,    // out: what the gradients are multiplied with (clipping); 0 where the step does not count
  update_terms,    // in, and those after it: the terms of the loss, each on its own
  update_slots = update_terms + 12
};

/// One parameter: its value p, gradient g and the formula's state, all of one shape and dtype (float32 or
/// float64). Optional: `average`, a moving average of p, and `copy`, p in bfloat16.
struct UpdateItem {
  Tensor p, g;
  std::array<Tensor, 2> state;  // as many as the formula has
  Tensor average, copy;
  std::int64_t slot = 0;  // in steps

  std::size_t bytes() const {
    return p.bytes() + g.bytes() + state[0].bytes() + state[1].bytes() + average.bytes() + copy.bytes();
  }
};

namespace kernel {

/// control[slot] += weight * loss;  loss [1].
inline constinit Kernel<void(Tensor& control, int slot, const Tensor& loss, double weight)> add_loss{
    "add_loss"};
/// sums[slot] += sign * now, in seconds of a clock that only goes forward.  sums: float64.
inline constinit Kernel<void(Tensor& sums, int slot, double sign)> add_time{"add_time"};
/// control[update_squares] = sum of squares of all elements of all gradients, in double. Overwrites.
inline constinit Kernel<void(Tensor& control, std::span<const Tensor> gradients)> sum_of_squares{
    "sum_of_squares"};
/// Where planned > 0 and images > 0, loss and terms *= f, squares *= f^2 with f = planned / images; else f
/// = 1. The step counts where loss and squares are finite, and images > 0 or planned = 0. Then steps[slot] +=
/// 1 for each item and control[update_scale] = f, or f min(1, clip_norm / (sqrt(squares) + 1e-6)) where
/// clip_norm > 0 (as torch.nn.utils.clip_grad_norm_). Else control[update_scale] = 0 and steps stay.
inline constinit Kernel<void(Tensor& control, Tensor& steps, std::span<const UpdateItem> items,
                             double clip_norm)>
    begin_update{"begin_update"};

}  // namespace kernel
}  // namespace vitral
