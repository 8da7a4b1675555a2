// The teacher in the loop: targets are made of the pixels that the student is about to see, as in the
// original. Stored views (`vitral teach --views`) give the same targets for a fraction of the work.
#pragma once
#include "models/pretrained/image_encoder.h"
#include "train/config.h"

namespace vitral::train {

class Teacher {
 public:
  /// UsageError: no CLIP weights, or embeddings that are not `width` wide.
  Teacher(const TeacherConfig& config, int width, Device device);

  /// images uint8 [B,S,S,3] on the CPU, resized where the teacher's size is another -> float32 [B,E] there,
  /// pinned where the teacher is on a GPU.
  Tensor embed(const Tensor& images) const;

  /// What of it had to be guessed, for a warning; "": nothing.
  const std::string& guessed() const { return encoder_.guessed(); }

 private:
  models::ImageEncoder encoder_;
};

}  // namespace vitral::train
