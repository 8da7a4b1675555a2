// Zero-shot classification (Radford et al. 2021, arXiv 2103.00020, section 3.1): an image is taken for the
// class whose text embedding has the highest cosine with its own.
//
//   top-k       the fraction of images whose class is among the k nearest; classes of equal cosine stand in
//               random order (models/measure/retrieval.h), so that embeddings that are all the same score
//               chance
//   per class   top-1 of the images of that class, and the mean of it over the classes that have images
//
//   ZeroShot measure(text_embeddings);                   // float32 [C,D]
//   for (each batch) measure.add(embeddings, labels);    // float32 [B,D], classes 0..C-1
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::models {

struct ZeroShotResult {
  struct Class {
    std::int64_t images = 0;
    double found = 0;  // sum over its images: 1 where it is the nearest

    double accuracy() const { return images > 0 ? found / static_cast<double>(images) : 0; }
  };
  std::vector<Class> classes;  // [C]
  std::int64_t images = 0;
  double top1 = 0, top5 = 0;

  /// Over the classes that have images.
  double mean_per_class() const;
  /// Top-k of classes in random order.
  double chance(std::int64_t k) const;
};

class ZeroShot {
 public:
  /// UsageError: not float32 [C,D].
  explicit ZeroShot(const Tensor& classes);
  /// UsageError: shapes that do not fit, a label out of range.
  void add(const Tensor& embeddings, std::span<const std::int64_t> labels);
  ZeroShotResult result() const;

 private:
  Tensor classes_;
  ZeroShotResult sums_;  // top1 and top5 not divided yet
};

}  // namespace vitral::models
