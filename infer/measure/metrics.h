// Retrieval between embeddings and the teacher's (models/measure/retrieval.h): whether the embedding of an
// image finds the teacher's of the same image among those of all images, and the other way round. A target
// that equals the own one (the same picture twice; two pictures of one red circle) is a right answer, too.
// Recall@1 from student to teacher is the top-1 agreement.
//
// Retrieval compares every image with every target, so it is taken over the first `candidates` images only;
// the result says how many that were. Recalls over different numbers of candidates cannot be compared.
//
//   EmbeddingMetrics metrics;
//   for (each batch) metrics.add(embeddings, targets);    // float32 [B,D] both
#pragma once
#include <cstdint>
#include <vector>

#include "models/measure/retrieval.h"
#include "tensor/tensor.h"

namespace vitral::infer {

class EmbeddingMetrics {
 public:
  static constexpr std::int64_t default_candidates = 10'000;  // 40 MB at width 512, seconds on a CPU

  explicit EmbeddingMetrics(std::int64_t candidates = default_candidates);
  /// UsageError: shapes that differ, from each other or from earlier batches, or another dtype.
  void add(const Tensor& embeddings, const Tensor& targets);

  struct Result {
    std::int64_t images = 0;
    models::Retrieval to_teacher, to_student;  // over the first images
  };
  /// UsageError where no image was added.
  Result result() const;

 private:
  std::int64_t limit_;
  std::int64_t images_ = 0;
  std::int64_t width_ = 0;
  std::vector<float> embeddings_, targets_;  // [candidates,D]
};

}  // namespace vitral::infer
