// Segmentation by naming patches: which of the dataset's concepts does each pixel show? Measured as mean
// intersection over union, after the protocol of open-vocabulary segmentation without training (Hajimiri et
// al., "Pay Attention to Your Neighbours" (NACLIP), WACV 2025, arXiv 2404.08181), on masks or on boxes.
//
//   const Segmentation segmentation(concepts.size(), {0, 1, 1}, {});        // texts 1 and 2 name concept 1
//   SegmentationResult result = segmentation.nothing();
//   for (each image) result.add(segmentation.measure(maps, labels), 1);     // ScoreMaps and LabelMap
//   fmt::print("{:.3f} (chance {:.3f})", result.mean_iou(), result.chance());
//
// The maps of all texts are brought to the pixels of the labels (Upsampling: bilinear between the middles of
// cells); a pixel's prediction is the concept of the text with the highest score, the first of equal ones.
// Pixels without a label are left out, unless there is a `background`: then they are labelled background, and
// a pixel whose highest score is below that value, or that of a text of the background, is predicted so.
//
//   IoU(c) = |predicted c and labelled c| / |predicted c or labelled c|     pixels of all images together
//   mIoU   = on masks as mmseg has it: the mean over the classes with a labelled or predicted pixel;
//            on boxes the mean over the classes with a labelled pixel
//
// On boxes a pixel's label is the concept in whose box its middle lies; pixels in boxes of several concepts
// have no one label and are left out, with a background, too.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "data/masks.h"
#include "infer/measure/objects.h"
#include "infer/measure/score_maps.h"

namespace vitral::infer {

using data::LabelMap;

/// Of boxes, on size x size pixels: LabelMap::ignore where those of several concepts lie over each other.
LabelMap labels_of_boxes(std::span<const LabelledObject> objects, std::int64_t size);

struct PixelCounts {
  std::int64_t labelled = 0, predicted = 0, both = 0;

  /// 0 where there is nothing.
  double iou() const;
  void add(const PixelCounts& more, std::int64_t times);
  auto fields() { return std::tie(labelled, predicted, both); }
};

/// What was counted on one image: of the classes that are labelled or predicted there. Class C is the
/// background; a pixel of which no score is a number is predicted as none.
struct ImageSegmentation {
  std::vector<std::int64_t> classes;
  std::vector<PixelCounts> counts;  // of each of them
  std::int64_t ignored = 0;         // pixels with LabelMap::ignore

  auto fields() { return std::tie(classes, counts, ignored); }
};

struct SegmentationResult {
  std::vector<PixelCounts> concepts;      // [C]
  std::optional<PixelCounts> background;  // where it was asked for
  std::int64_t pixels = 0;                // that count
  std::int64_t ambiguous = 0;             // ignored: marked so, or in boxes of several concepts
  bool on_masks = false;                  // which mean of IoU is meant

  void add(const ImageSegmentation& image, std::int64_t times);
  double mean_iou() const;
  /// The mean IoU that predictions drawn at random have in expectation, each pixel for itself and all
  /// concepts (and the background) alike: the ratio of the expected counts.
  double chance() const;
  /// Right pixels of those that count, and the mean of that over the classes with a labelled pixel (mmseg's
  /// aAcc and mAcc).
  double pixel_accuracy() const;
  double mean_accuracy() const;

 private:
  std::vector<PixelCounts> averaged() const;
};

class Segmentation {
 public:
  /// concept_of: of each text the concept that it names, 0..C-1, or C: the background. `background`: the
  /// score below which a pixel shows no concept. UsageError: a number out of range.
  Segmentation(std::int64_t concepts, std::vector<std::int64_t> concept_of, std::optional<float> background);

  /// UsageError: maps of another number of texts, a label that is no concept.
  ImageSegmentation measure(const ScoreMaps& maps, const LabelMap& labels) const;
  /// What the best prediction would score that says one thing of each cell: the label that most of its pixels
  /// have. `rows` x `columns` cells cover the image, the last ones perhaps in part.
  ImageSegmentation ceiling(const LabelMap& labels, double rows, double columns) const;
  /// A result of no images.
  SegmentationResult nothing(bool on_masks = false) const;

 private:
  ImageSegmentation count(const LabelMap& labels, const std::vector<std::int32_t>& predicted) const;
  std::int32_t class_of(std::uint16_t label) const;

  std::int64_t concepts_;
  std::vector<std::int64_t> concept_of_;
  std::optional<float> background_;
};

}  // namespace vitral::infer
