// Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): the direction of a matrix is made orthogonal,
// so that all its singular values learn alike. For the 2-D weights of transformer.resblocks, [rows,columns]:
//
//   m = 0.95 m + g;  p *= 1 - lr weight_decay;  p -= lr 0.2 sqrt(max(rows, columns)) NS(g + 0.95 m)
//
// NS is five Newton-Schulz steps from x = d / (|d| + 1e-7), |d| the root of the sum of squares,
//
//   x = 3.4445 x - 4.7750 (x x^T) x + 2.0315 (x x^T)^2 x
//
// of the transposed where rows > columns. They bring the singular values near 1. The factor gives the update
// of a matrix the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so one learning rate fits both. All
// other parameters are AdamW's.
#pragma once
#include "train/adamw.h"

namespace vitral::train {

/// NS of d [rows,columns], float32 or float64, on its device.
Tensor orthogonalized(const Tensor& d, double factor = 1);

/// State of a matrix: NAME.momentum_buffer; of other parameters that of AdamW.
class Muon : public AdamW {
 public:
  explicit Muon(const nn::Module& module, const AdamWOptions& options = {}, bool decay_matrices_only = false);

 private:
  const char* name() const override { return "muon"; }
  std::vector<std::string> state_names(const nn::NamedParameter& parameter) const override;
  void apply(std::span<const UpdateItem> items, const Tensor& control, const Tensor& steps,
             double weight_decay, double average_weight) override;

  std::vector<bool> is_matrix_;  // of a block, by UpdateItem::slot
};

}  // namespace vitral::train
