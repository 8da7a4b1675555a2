// What an optimiser step does, for all parameters at once and without the host knowing any result: whether a
// step counts is decided where the gradients are.
//
//   control    float64 [update_slots] on the device of the parameters, one number an UpdateSlot
//   steps      int64 [P] there: how many steps each parameter has had, by AdamWItem::slot
//
//   control[lr] is set, control[loss] = 0
//   add_loss(control, loss, weight)                    for each micro-batch
//   sum_of_squares(control, gradients)
//   begin_update(control, steps, items, clip_norm)     does this step count?
//   adamw(items, control, steps, options)
#pragma once
#include <span>

#include "tensor/kernel.h"

namespace vitral {

struct AdamWOptions {
  double lr = 1e-3;  // for who sets control[update_lr]; no kernel reads it
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
};

enum UpdateSlot : int {
  update_lr,       // in: learning rate of this step
  update_loss,     // in: sum of the weighted losses
  update_squares,  // sum of squares of all gradients
  update_scale,    // out: what the gradients are multiplied with (clipping); 0 where the step does not count
  update_slots
};

/// One parameter: its value p, moments m and v, gradient g, all of one shape and dtype (float32 or float64).
/// Optional: `average`, a moving average of p, and `copy`, p in bfloat16.
struct AdamWItem {
  Tensor p, m, v, g, average, copy;
  std::int64_t slot = 0;  // in steps

  std::size_t bytes() const {
    return p.bytes() + m.bytes() + v.bytes() + g.bytes() + average.bytes() + copy.bytes();
  }
};

namespace kernel {

/// control[update_loss] += weight * loss;  loss [1].
inline constinit Kernel<void(Tensor& control, const Tensor& loss, double weight)> add_loss{"add_loss"};
/// control[update_squares] = sum of squares of all elements of all gradients, in double. Overwrites.
inline constinit Kernel<void(Tensor& control, std::span<const Tensor> gradients)> sum_of_squares{
    "sum_of_squares"};
/// The step counts where loss and squares are finite. Then steps[slot] += 1 for each item and
/// control[update_scale] = 1, or min(1, clip_norm / (sqrt(squares) + 1e-6)) where clip_norm > 0 (as
/// torch.nn.utils.clip_grad_norm_). Else control[update_scale] = 0 and steps stay.
inline constinit Kernel<void(Tensor& control, Tensor& steps, std::span<const AdamWItem> items,
                             double clip_norm)>
    begin_update{"begin_update"};
/// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), with PyTorch's bias correction, over all items in
/// one launch. lr = control[update_lr], t = steps[slot], g times control[update_scale]:
///   p *= 1 - lr weight_decay;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
///   average += average_weight (p - average);  copy = p
/// Does nothing where control[update_scale] is 0.
inline constinit Kernel<void(std::span<const AdamWItem> items, const Tensor& control, const Tensor& steps,
                             AdamWOptions options, double average_weight)>
    adamw{"adamw"};

}  // namespace kernel
}  // namespace vitral
