// The student's trunk: how patches see each other.
//
//   patches -> conv1 [B,N,W'] (+ positional_embedding) -> ln_pre -> registers behind them, [B,N+R,W']
//           -> transformer -> the first N
//
// Each layer has its attention; where `position` is rope, q and k of patches are turned by their places.
#pragma once
#include "models/student/config.h"
#include "nn/block.h"
#include "nn/patch_embedding.h"

namespace vitral::models {

class Trunk : public nn::Module {
 public:
  Trunk(const StudentConfig& config, Random random);

  /// patches [B,N,3 p p] -> [B,N,W']
  Variable operator()(const Variable& patches, const nn::ForwardContext& context = {}) const;

 private:
  nn::PatchEmbedding& conv1_;
  nn::Parameter* positional_embedding_;  // [N,W'], where `position` is learned
  nn::Norm& ln_pre_;
  nn::Transformer& transformer_;
  nn::Parameter* registers_;  // [R,W'], where there are some
};

}  // namespace vitral::models
