// AdamW's formula; tensor/ops/update.h has what it is a part of.
#pragma once
#include "tensor/ops/update.h"

namespace vitral {

struct AdamWOptions {
  double lr = 1e-3;  // for the caller that sets control[update_lr]; no kernel reads it
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
};

namespace kernel {

/// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), with PyTorch's bias correction, over all items in
/// one launch. State of an item: m, v.
///   p *= 1 - lr weight_decay;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
inline constinit Kernel<void(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
                             AdamWOptions options, double average_weight)>
    adamw{"adamw"};

}  // namespace kernel
}  // namespace vitral
