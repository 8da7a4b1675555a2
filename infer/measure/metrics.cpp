#include "infer/measure/metrics.h"

#include <algorithm>

namespace vitral::infer {
namespace {

void check_pair(const Tensor& embeddings, const Tensor& targets) {
  VITRAL_CHECK(embeddings.dtype() == DType::float32 && targets.dtype() == DType::float32,
               "metrics: embeddings {} and targets {} must be float32", embeddings.dtype(), targets.dtype());
  VITRAL_CHECK(embeddings.rank() == 2 && embeddings.shape() == targets.shape(),
               "metrics: targets {} must have the shape [B, D] of embeddings {}", targets.shape(),
               embeddings.shape());
}

}  // namespace

EmbeddingMetrics::EmbeddingMetrics(std::int64_t candidates) : limit_(candidates) {
  VITRAL_CHECK(candidates > 0, "metrics: candidates is {}, it must be at least 1", candidates);
}

void EmbeddingMetrics::add(const Tensor& embeddings, const Tensor& targets) {
  check_pair(embeddings, targets);
  const std::int64_t width = embeddings.dim(1);
  VITRAL_CHECK(width > 0, "metrics: embeddings {} have no width", embeddings.shape());
  VITRAL_CHECK(width_ == 0 || width_ == width,
               "metrics: embeddings {} must have the width {} of earlier batches", embeddings.shape(),
               width_);
  width_ = width;
  for (std::int64_t i = 0; i < embeddings.dim(0); ++i, ++images_) {
    const float* y = embeddings.data<float>() + i * width;
    const float* t = targets.data<float>() + i * width;
    if (images_ < limit_) {
      embeddings_.insert(embeddings_.end(), y, y + width);
      targets_.insert(targets_.end(), t, t + width);
    }
  }
}

EmbeddingMetrics::Result EmbeddingMetrics::result() const {
  VITRAL_CHECK(images_ > 0, "metrics: no images to measure");
  const Shape shape{std::min(images_, limit_), width_};
  const Tensor embeddings = Tensor::from(embeddings_, shape), targets = Tensor::from(targets_, shape);
  const models::Answers answers = models::same_rows(targets);
  return {images_, models::retrieval(embeddings, targets, answers),
          models::retrieval(targets, embeddings, answers)};
}

}  // namespace vitral::infer
