// The student's trunk: patches -> conv1 + positional_embedding -> ln_pre -> transformer.
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
  nn::Parameter& positional_embedding_;  // [N,W']
  nn::LayerNorm& ln_pre_;
  nn::Transformer& transformer_;
};

}  // namespace vitral::models
