// The student: a vision transformer whose patch embeddings share the space of the image embedding, which is
// their convex sum. After TinyVolt/multimodal-patch-embeddings (VisionTransformerExtraHead). There is no
// class token, no projection and no normalisation at the end.
//
//   trunk      images [B,3,S,S] -> x [B,N,W'] (models/student/trunk.h)
//   head       x -> embeddings e_n of the patches [B,N,W] and weights p_n, which add up to 1
//              (models/student/head.h); the convex head takes a number more of each attention head, so
//              W' = W + H
//   same_norm  e = e / |e| * min(scale, 10)
//   out        embedding = sum_n p_n e_n
#pragma once
#include "models/pixels.h"
#include "models/student/head.h"
#include "models/student/trunk.h"

namespace vitral::models {

class Student : public nn::Module {
 public:
  /// Fresh weights, a pure function of the seed. UsageError where the sizes do not fit each other.
  explicit Student(const StudentConfig& config, std::uint64_t seed = 0);
  /// With another head than the configuration's; what it takes of x is config.extra_width().
  Student(const StudentConfig& config, std::unique_ptr<Head> head, std::uint64_t seed = 0);

  /// images [B,3,S,S]; temperature: of the softmax over patches.
  StudentOutput forward(const Variable& images, double temperature = 1) const;
  /// The same from pixel_patches() of models/pixels.h.
  StudentOutput of_patches(const Variable& patches, double temperature = 1,
                           const nn::ForwardContext& context = {}) const;
  /// The embedding [B,W] alone, from pixel_patches(): what training needs, fused. In the dtype of
  /// the patches; bfloat16 gives a float32 embedding.
  Variable embed(const Variable& patches, const nn::ForwardContext& context = {}) const;

  const StudentConfig& config() const { return config_; }

 private:
  Variable scale() const { return scale_ ? Variable(*scale_) : Variable(); }

  StudentConfig config_;
  Trunk& trunk_;
  Head& head_;
  nn::Parameter* scale_ = nullptr;  // [1], with same_norm
};

}  // namespace vitral::models
