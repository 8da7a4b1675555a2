// How good a student is on a dataset: loss, cosine and top-1 agreement with the teacher, and the pointing
// game where objects are labelled.
#pragma once
#include <functional>
#include <optional>

#include "data/dataset.h"
#include "infer/encoder.h"
#include "infer/metrics.h"
#include "infer/pointing.h"

namespace vitral::infer {

struct Evaluation {
  std::int64_t images = 0;
  std::int64_t skipped = 0;  // images that did not decode
  double loss = 0;           // norm * mean | y/|y| - t/|t| |
  double cosine = 0;         // mean cosine of embedding and target
  double top1_agreement = 0;
  std::int64_t candidates = 0;  // images that top1_agreement was taken over
  std::optional<PointingResult> pointing;
};

struct EvaluateOptions {
  std::int64_t batch_size = 64;
  int workers = 2;
  double loss_norm = 20;
  std::function<void(std::int64_t done, std::int64_t total)> progress;  // after each batch
  std::function<void(const std::string& line)> skipped;                 // an image that did not decode
};

/// UsageError where the dataset has no embeddings, or of another width than the student's; Error where one of
/// them has no direction (data::target_problem), naming its image.
Evaluation evaluate(const Encoder& encoder, const data::Dataset& dataset,
                    const EvaluateOptions& options = {});

}  // namespace vitral::infer
