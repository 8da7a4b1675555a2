// Segmentation by naming patches: which of the dataset's concepts does each pixel show? Measured as mean
// intersection over union on labelled boxes, after the protocol of open-vocabulary segmentation without
// training (Hajimiri et al., "Pay Attention to Your Neighbours" (NACLIP), WACV 2025, arXiv 2404.08181), which
// has masks where we have boxes.
//
//   Segmentation game(concepts, 8, 8, 224);               // float32 [C,D], the grid, pixels a side
//   for (each batch) game.add(patch_embeddings, objects); // float32 [B,N,D], objects of these B images
//   fmt::print("{:.3f} (chance {:.3f})", game.result().mean_iou(), game.result().chance());
//
// The cosines of the patches with each concept are brought to S x S pixels (upsample_scores: bilinear between
// the middles of patches); a pixel's prediction is the concept of the highest cosine among all C, the first
// of equal ones. Its label is the concept in whose box its middle lies. Pixels in boxes of several concepts
// have no one label and are left out, and so are pixels outside all boxes, unless there is a `background`:
// then these are labelled background, and a pixel whose highest cosine is below that value is predicted so.
//
//   IoU(c) = |predicted c and labelled c| / |predicted c or labelled c|     pixels of all images together
//   mIoU   = mean of IoU over the concepts (and the background) with a labelled pixel
//
// Images without labelled objects are left out.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "infer/measure/objects.h"

namespace vitral::infer {

struct PixelCounts {
  std::int64_t labelled = 0, predicted = 0, both = 0;

  /// 0 where there is nothing.
  double iou() const;
};

struct SegmentationResult {
  std::vector<PixelCounts> concepts;      // [C]
  std::optional<PixelCounts> background;  // where it was asked for
  std::int64_t pixels = 0;                // that count
  std::int64_t ambiguous = 0;             // left out, in boxes of several concepts

  double mean_iou() const;
  /// The mean IoU that predictions drawn at random have in expectation, each pixel for itself and all
  /// concepts (and the background) alike: the ratio of the expected counts.
  double chance() const;
};

class Segmentation {
 public:
  /// UsageError: concepts that are not float32 [C,D], a grid without patches, no pixels.
  Segmentation(const Tensor& concepts, std::int64_t rows, std::int64_t columns, std::int64_t pixels,
               std::optional<float> background = {});
  /// UsageError as PointingGame::add().
  void add(const Tensor& patch_embeddings, std::span<const LabelledObject> objects);
  const SegmentationResult& result() const { return result_; }

 private:
  SegmentationResult measure(const Tensor& patches, std::span<const LabelledObject> objects) const;

  Tensor concepts_;  // float32 [C,D]
  std::int64_t rows_, columns_, pixels_;
  std::optional<float> background_;
  SegmentationResult result_;
};

}  // namespace vitral::infer
