// The teacher in the loop: targets are made of the pixels that the student is about to see, as in the
// original. Stored views (`vitral teach --views`) give the same targets for a fraction of the work.
#pragma once
#include "models/objective.h"
#include "models/pretrained/image_encoder.h"
#include "train/config.h"

namespace vitral::train {

class Teacher {
 public:
  /// UsageError: no CLIP weights, embeddings that are not as wide as the objective wants them, or no dense
  /// tokens where it reads patches.
  Teacher(const TeacherConfig& config, const models::Objective& objective, Device device);

  /// The targets that the objective wants of rows [begin, end) of a batch, whose images are uint8 [B,S,S,3]
  /// on the CPU, resized where the teacher's size is another: float32 there, pinned where the teacher is on a
  /// GPU.
  void add_targets(data::Inputs& batch, std::int64_t begin, std::int64_t end) const;

  /// What of it had to be guessed, for a warning; "": nothing.
  const std::string& guessed() const { return encoder_.guessed(); }

 private:
  data::Inputs targets_of(const Tensor& images) const;

  models::ImageEncoder encoder_;
  int regions_ = 0, grid_ = 0;  // cells and patches a side, 0: without
};

}  // namespace vitral::train
