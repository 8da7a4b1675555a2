// The first layer of a vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929): a convolution whose
// kernel is as large as its stride, which is a matrix product on the patches.
#pragma once
#include <cmath>

#include "nn/init.h"
#include "nn/module.h"

namespace vitral::nn {

class PatchEmbedding : public Module {
 public:
  /// weight [W,C,p,p] and, where asked for, bias [W], both uniform(+-1/sqrt(C p p)).
  PatchEmbedding(std::int64_t channels, std::int64_t width, std::int64_t patch, Random& random,
                 bool with_bias = false)
      : weight(linear_weight("weight", fan_in_uniform({width, channels, patch, patch}, random))),
        patch_(patch) {
    if (with_bias)
      bias_ =
          &parameter("bias", uniform({width}, 1 / std::sqrt(double{1} * channels * patch * patch), random));
  }

  /// images [B,C,R p,K p] -> [B,R K,W], row-major over the grid.
  Variable operator()(const Variable& images) const {
    VITRAL_CHECK(images.rank() == 4 && images.dim(1) == weight.dim(1),
                 "patch_embedding: images {} must be [B, C, H, W] with the channels of weight {}",
                 images.shape(), weight.shape());
    return of_patches(patchify(images, patch_));
  }
  /// patches [B,N,C p p] -> [B,N,W].
  Variable of_patches(const Variable& patches) const {
    return bias_ ? linear(patches, weight.as_matrix(), *bias_) : linear(patches, weight.as_matrix(), {});
  }

  Parameter& weight;

 private:
  std::int64_t patch_;
  Parameter* bias_ = nullptr;
};

}  // namespace vitral::nn
