#include "infer/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tensor/gemm.h"

namespace vitral::infer {
namespace {

void check_pair(const Tensor& embeddings, const Tensor& targets) {
  VITRAL_CHECK(embeddings.dtype() == DType::float32 && targets.dtype() == DType::float32,
               "metrics: embeddings {} and targets {} must be float32", embeddings.dtype(), targets.dtype());
  VITRAL_CHECK(embeddings.rank() == 2 && embeddings.shape() == targets.shape(),
               "metrics: targets {} must have the shape [B, D] of embeddings {}", targets.shape(),
               embeddings.shape());
}

double length(const float* row, std::int64_t width) {
  double squares = 0;
  for (std::int64_t i = 0; i < width; ++i) squares += double{row[i]} * row[i];
  return std::sqrt(squares);
}

void append_unit(std::vector<float>& to, const float* row, std::int64_t width) {
  const double by = length(row, width);
  for (std::int64_t i = 0; i < width; ++i) to.push_back(by == 0 ? 0 : static_cast<float>(row[i] / by));
}

float dot(const Tensor& rows, std::int64_t i, std::int64_t j) {
  const float *a = rows.data<float>() + i * rows.dim(1), *b = rows.data<float>() + j * rows.dim(1);
  return std::inner_product(a, a + rows.dim(1), b, 0.0F);
}

// Of unit rows [N,D].
double agreement(const Tensor& embeddings, const Tensor& targets) {
  constexpr std::int64_t block = 256;
  // Two targets are the same when rounding alone could make their cosine differ from 1.
  constexpr float same = 1 - 1e-6F;
  const std::int64_t count = embeddings.dim(0);
  std::int64_t agreed = 0;
  for (std::int64_t row = 0; row < count; row += block) {
    const std::int64_t height = std::min(block, count - row);
    std::vector<float> best(static_cast<std::size_t>(height), -std::numeric_limits<float>::infinity());
    std::vector<std::int64_t> nearest(static_cast<std::size_t>(height), -1);
    for (std::int64_t column = 0; column < count; column += block) {
      const std::int64_t across = std::min(block, count - column);
      Tensor scores({height, across});
      kernel::gemm(scores, embeddings.rows(row, row + height), targets.rows(column, column + across),
                   {.transpose_b = true});
      const float* score = scores.data<float>();
      for (std::size_t i = 0; i < best.size(); ++i)
        for (std::int64_t j = 0; j < across; ++j, ++score)
          if (*score > best[i]) {
            best[i] = *score;
            nearest[i] = column + j;
          }
    }
    for (std::int64_t i = 0; i < height; ++i) {
      const std::int64_t own = row + i, found = nearest[static_cast<std::size_t>(i)];
      if (found == own || (found >= 0 && dot(targets, found, own) >= same)) ++agreed;
    }
  }
  return static_cast<double>(agreed) / static_cast<double>(count);
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
    double product = 0;
    for (std::int64_t j = 0; j < width; ++j) product += double{y[j]} * t[j];
    const double lengths = length(y, width) * length(t, width);
    cosines_ += lengths == 0 ? 0 : product / lengths;
    if (images_ < limit_) {
      append_unit(embeddings_, y, width);
      append_unit(targets_, t, width);
    }
  }
}

EmbeddingMetrics::Result EmbeddingMetrics::result() const {
  VITRAL_CHECK(images_ > 0, "metrics: no images to measure");
  const std::int64_t candidates = std::min(images_, limit_);
  const Shape shape{candidates, width_};
  return {images_, cosines_ / static_cast<double>(images_),
          agreement(Tensor::from(embeddings_, shape), Tensor::from(targets_, shape)), candidates};
}

double top1_agreement(const Tensor& embeddings, const Tensor& targets) {
  EmbeddingMetrics metrics(std::max<std::int64_t>(embeddings.dim(0), 1));
  metrics.add(embeddings, targets);
  return metrics.result().top1_agreement;
}

}  // namespace vitral::infer
