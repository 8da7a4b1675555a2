// Validation: the loss and the mean cosine with the teacher over a whole dataset.
#pragma once
#include <functional>
#include <optional>

#include "data/loader.h"
#include "models/student/student.h"
#include "train/teacher.h"

namespace vitral::train {

struct Validation {
  double loss = 0;    // norm * mean | y/|y| - t/|t| | over all elements
  double cosine = 0;  // mean of y . t / (|y| |t|)
  std::int64_t images = 0;
};

/// Runs the loader's epoch from its beginning; the student computes in `dtype` (models::pixel_patches).
/// Targets are the loader's, or `teacher`'s where one is given. Nothing when `stop` said so in between.
std::optional<Validation> validate(const models::Student& student, data::Loader& loader,
                                   const Teacher* teacher, double loss_norm, Device device, DType dtype,
                                   const std::function<bool()>& stop = {});

}  // namespace vitral::train
