// How close embeddings are to the teacher's.
//
//   cosine            mean over images of  y . t / (|y| |t|)
//   top-1 agreement   fraction of images whose nearest target, by cosine and among the targets of all images,
//                     is their own: recall@1 of retrieval. A target that equals the own one (the same picture
//                     twice; two pictures of one red circle) counts as the own one.
//
// Agreement compares every image with every target, so it is taken over the first `candidates` images only;
// the result says how many that were. Agreements over different numbers of candidates cannot be compared.
//
//   EmbeddingMetrics metrics;
//   for (each batch) metrics.add(embeddings, targets);    // float32 [B,D] both
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::infer {

class EmbeddingMetrics {
 public:
  static constexpr std::int64_t default_candidates = 10'000;  // 40 MB at width 512, a second or two on a CPU

  explicit EmbeddingMetrics(std::int64_t candidates = default_candidates);
  /// UsageError: shapes that differ, from each other or from earlier batches, or another dtype.
  void add(const Tensor& embeddings, const Tensor& targets);

  struct Result {
    std::int64_t images = 0;
    double cosine = 0;
    double top1_agreement = 0;
    std::int64_t candidates = 0;  // images that top1_agreement was taken over
  };
  /// UsageError where no image was added.
  Result result() const;

 private:
  std::int64_t limit_;
  std::int64_t images_ = 0;
  std::int64_t width_ = 0;
  double cosines_ = 0;
  std::vector<float> embeddings_, targets_;  // unit rows [candidates,D]
};

/// Top-1 agreement of all rows, float32 [N,D] both. Works on blocks: never holds N x N numbers.
double top1_agreement(const Tensor& embeddings, const Tensor& targets);

}  // namespace vitral::infer
