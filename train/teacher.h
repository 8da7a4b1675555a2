// The teacher in the loop: targets are made of the pixels that the student is about to see, as in the
// original. Stored views (`vitral teach --views`) give the same targets for a fraction of the work.
#pragma once
#include "models/objective.h"
#include "models/pretrained/image_encoder.h"
#include "train/config.h"

namespace vitral::train {

class Teacher {
 public:
  /// dtype: what it computes in. UsageError: no CLIP weights, embeddings that are not as wide as the
  /// objective wants them, or no dense tokens where it reads patches.
  Teacher(const TeacherConfig& config, const models::Objective& objective, Device device, DType dtype);

  /// What it was asked, and says when the device has got so far.
  class Answer {
   public:
    Answer(std::int64_t begin, std::int64_t end) : begin_(begin), end_(end) {}
    /// The targets that the objective wants of these rows of a batch: float32 on the CPU, pinned where the
    /// teacher is on a GPU.
    void add_to(data::Inputs& batch);

   private:
    friend class Teacher;
    struct Part {
      models::Pending<Tensor> values;
      Tensor data::Inputs::*member;
      std::int64_t each;  // rows of `values` for an image, or 0: it is a row as it is
    };
    std::int64_t begin_, end_;
    std::vector<Part> parts_;
  };
  /// Shows it rows [begin, end) of a batch, whose images are uint8 [B,S,S,3] on the CPU, resized where the
  /// teacher's size is another. They must not change before the answer was added.
  Answer ask(const data::Inputs& batch, std::int64_t begin, std::int64_t end) const;

  /// What of it had to be guessed, for a warning; "": nothing.
  const std::string& guessed() const { return encoder_.guessed(); }

 private:
  models::ImageEncoder encoder_;
  int regions_ = 0, grid_ = 0;  // cells and patches a side, 0: without
};

}  // namespace vitral::train
