// The student's head: how the patch embeddings become one, as their convex sum. Of the trunk's x [B,N,W'] it
// makes the embeddings e_n of the patches, W wide, and the weights p_n of the sum:
//
//   convex  each of the H attention heads carries one number more (W' = W + H): with x as [B,N,H,D+1], their
//           mean over the heads is the logit of a patch, p = softmax_N(logits / temperature); e are the
//           others
//   query   p = softmax_n(q . x_n / sqrt(W) / temperature) with a learned q [W] (head.query); e = x
//   mean    p = 1 / N; e = x
#pragma once
#include <memory>

#include "base/random.h"
#include "models/student/config.h"
#include "nn/module.h"

namespace vitral::models {

struct StudentOutput {
  Variable embedding;  // [B,W] = sum_n probs_n patches_n
  Variable probs;      // [B,1,N]
  Variable patches;    // [B,N,W]
};

class Head : public nn::Module {
 public:
  /// scale [1]: that of same_norm, e_n = e_n / |e_n| min(scale, 10); or undefined. temperature: of the
  /// softmax that gives the weights.
  virtual StudentOutput operator()(const Variable& x, const Variable& scale, double temperature) const = 0;
  /// The embedding alone at temperature 1: all that training needs, where there is a faster way to it.
  /// float32 for a bfloat16 x.
  virtual Variable embed(const Variable& x, const Variable& scale) const {
    return (*this)(x, scale, 1).embedding;
  }
};

/// The head that the configuration names, with fresh weights. StudentConfig::extra_width() says what it takes
/// of x beside the embeddings.
std::unique_ptr<Head> make_head(const StudentConfig& config, Random random);

}  // namespace vitral::models
