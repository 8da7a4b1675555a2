// The teacher in the loop: targets are made of the pixels that the student is about to see, as in the
// original. Stored views (`vitral teach --views`) give the same targets for a fraction of the work.
#pragma once
#include <memory>

#include "models/clip/towers.h"
#include "train/config.h"

namespace vitral::train {

class Teacher {
 public:
  /// UsageError: no CLIP weights, or embeddings of another width than the student's.
  Teacher(const TeacherConfig& config, const ModelConfig& student, Device device);

  /// images uint8 [B,S,S,3] on the CPU, resized where the teacher's size is another -> float32 [B,E] there.
  Tensor embed(const Tensor& images) const;

 private:
  std::unique_ptr<models::ClipImage> tower_;
  Device device_;
};

}  // namespace vitral::train
