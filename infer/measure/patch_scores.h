// What the patches of an image say about a text or concept: a score each, and as many as an image has pixels.
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::infer {

/// Cosine of each patch embedding, float32 [N,D], with one concept, float32 [D] -> float32 [N]. What the
/// pointing game plays on and what pictures show.
Tensor patch_cosines(const Tensor& patch_embeddings, const Tensor& concept_embedding);

/// exp(2 t . e_n) / sum_m exp(2 t . e_m), the original's picture: patches float32 [N,D], text float32 [D] ->
/// float32 [N].
Tensor patch_softmax(const Tensor& patch_embeddings, const Tensor& text);

/// The patch with the highest score, float32 [N]: the first of equals, -1 where none is finite.
std::int64_t pointed_patch(const Tensor& scores);

/// patch_cosines() with many texts at once, the same numbers.
class TextScorer {
 public:
  /// texts: float32 [T,D].
  explicit TextScorer(const Tensor& texts);
  std::int64_t texts() const { return static_cast<std::int64_t>(lengths_.size()); }
  std::int64_t width() const { return transposed_.dim(0); }
  /// patches float32 [N,D] at `patches` -> float32 [T,N] at `cosines`.
  void score(const float* patches, std::int64_t count, float* cosines) const;

 private:
  Tensor transposed_;            // float32 [D,T]
  std::vector<double> lengths_;  // [T]
};

/// Brings maps of rows x columns cells that cover an image to its height x width pixels: bilinear between the
/// middles of cells, constant beyond the outermost ones. First along x, then along y, so that the second,
/// which is most of it, needs no more than two rows.
class Upsampling {
 public:
  Upsampling(std::int64_t rows, std::int64_t columns, std::int64_t height, std::int64_t width);
  std::int64_t height() const { return static_cast<std::int64_t>(down_.size()); }
  std::int64_t width() const { return static_cast<std::int64_t>(along_.size()); }

  /// map [rows,columns] -> wide [rows,width].
  void widen(const float* map, float* wide) const;
  /// Two rows of a wide map, and how far a row of pixels lies from the first to the second:
  /// value = first + amount (second - first).
  struct Row {
    const float *first, *second;
    float amount;
  };
  Row row(const float* wide, std::int64_t y) const {
    const Between& b = down_[static_cast<std::size_t>(y)];
    return {wide + b.first * width(), wide + b.second * width(), b.amount};
  }

 private:
  // The two cells whose middles are on both sides of a pixel's middle, and how far it is from the first.
  struct Between {
    std::int64_t first, second;
    float amount;
  };
  static std::vector<Between> betweens(std::int64_t pixels, std::int64_t cells);

  std::int64_t rows_, columns_;
  std::vector<Between> down_, along_;  // of each row and of each column of pixels
};

/// Scores at the pixels of a height x width image, float32 [height,width]: of float32 [rows,columns], as
/// Upsampling says.
Tensor upsample_scores(const Tensor& scores, std::int64_t height, std::int64_t width);

}  // namespace vitral::infer
