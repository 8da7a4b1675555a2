// How good a student is on a dataset: loss, cosine and retrieval against the teacher, and localisation where
// objects are labelled. docs/evaluation.md defines each.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "infer/measure/localisation.h"
#include "infer/measure/metrics.h"
#include "models/student/encoder.h"
#include "processes/group.h"

namespace vitral::infer {

struct Evaluation {
  std::int64_t images = 0;
  std::int64_t skipped = 0;  // images that did not decode
  bool has_targets = false;  // whether the next four are known: the dataset has embeddings
  double loss = 0;           // norm * mean | y/|y| - t/|t| |
  double cosine = 0;         // mean cosine of embedding and target
  models::Retrieval to_teacher, to_student;
  std::vector<std::string> concepts;               // [C] names, where objects are labelled
  std::optional<LocalisationResult> localisation;  // the student's is its first row
  std::optional<PointingResult> pointing;          // that row's
  std::optional<SegmentationResult> segmentation;  // that row's
};

struct EvaluateOptions {
  std::int64_t batch_size = 64;
  int workers = 2;
  double loss_norm = 20;
  std::int64_t candidates = EmbeddingMetrics::default_candidates;  // images that retrieval is taken over
  LocalisationOptions localisation;
  /// What concepts are called, instead of the embeddings that the dataset stores.
  std::function<ConceptTexts(const std::vector<std::string>& names)> embed_concepts;
  std::vector<DenseModel> others;  // measured on labelled objects beside the student
  /// Of what the others are, where processes must have the same.
  std::string identity_of_others;
  std::function<void(std::int64_t done, std::int64_t total)> progress;  // after each batch
  std::function<void(const std::string& line)> skipped;                 // an image that did not decode
  Group* group = &alone();  // that shares the images; all get the same result
};

/// UsageError where the dataset has neither embeddings nor labelled objects, or embeddings of another width
/// than the student's; Error where one of them has no direction (data::target_problem), naming its image.
Evaluation evaluate(const models::Encoder& encoder, const data::Dataset& dataset,
                    const EvaluateOptions& options = {});

}  // namespace vitral::infer
