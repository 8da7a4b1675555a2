// The pointing game: does a model that never saw where an object is know it anyway? After Zhang et al.,
// "Top-down Neural Attention by Excitation Backprop" (ECCV 2016, arXiv 1608.00507), in two forms.
//
// On patches, ours: for each labelled object, the patch whose embedding has the highest cosine with the
// object's concept must overlap the object's box; averaged over objects, without a margin.
//
//   PointingGame game(concepts, 8, 8);                    // float32 [C,D], the grid
//   for (each batch) game.add(patch_embeddings, objects); // float32 [B,N,D], objects of these B images
//   fmt::print("{:.3f} (chance {:.3f})", game.result().accuracy(), game.result().chance());
//
// Patch n = row * columns + column covers [column, column + 1] / columns x [row, row + 1] / rows of the
// image. It overlaps a box when they share an area: touching borders do not count, nor does less than 1e-4 of
// a patch in either direction, which is what float32 boxes are off by. A box thinner than that (a line, a
// point) lies in the patch that holds its middle. Of patches with the same cosine the first in row-major
// order points. A cosine with a zero vector is 0; a cosine that is not finite never points.
//
// On pixels, the paper's: for each class in an image, the highest point of the class's map must lie less than
// 15 pixels from one of its objects; averaged over images of a class, then over classes (Trial,
// FieldPointing). A map that is bilinear between the middles of cells is highest at the middle of its highest
// cell.
#pragma once
#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

#include "infer/measure/objects.h"
#include "infer/measure/segmentation.h"

namespace vitral::infer {

struct PointingResult {
  std::int64_t objects = 0;
  std::int64_t hits = 0;
  double overlap = 0;  // sum over objects of the fraction of patches that overlap the box

  double accuracy() const {
    return objects > 0 ? static_cast<double>(hits) / static_cast<double>(objects) : 0;
  }
  /// The accuracy of a patch chosen at random.
  double chance() const { return objects > 0 ? overlap / static_cast<double>(objects) : 0; }
};

class PointingGame {
 public:
  /// UsageError: concepts that are not float32 [C,D], a grid without patches.
  PointingGame(const Tensor& concepts, std::int64_t rows, std::int64_t columns);
  /// UsageError: shapes that do not fit, an image or concept out of range, a box that is turned round or
  /// outside 0..1.
  void add(const Tensor& patch_embeddings, std::span<const LabelledObject> objects);
  const PointingResult& result() const { return result_; }

 private:
  Tensor concepts_;  // float32 [C,D]
  std::int64_t rows_, columns_;
  PointingResult result_;
};

/// The whole game on one batch.
PointingResult pointing_game(const Tensor& patch_embeddings, std::int64_t rows, std::int64_t columns,
                             const Tensor& concepts, std::span<const LabelledObject> objects);

/// A rectangle of cells, rows [top, bottom) and columns [left, right).
struct Cells {
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;

  bool hold(std::int64_t row, std::int64_t column) const {
    return row >= top && row < bottom && column >= left && column < right;
  }
  std::int64_t count() const { return (bottom - top) * (right - left); }
};
/// The patches of a rows x columns grid that overlap the box, at least one.
Cells overlapping_patches(const Box& box, std::int64_t rows, std::int64_t columns);

/// One class in one image of height x width pixels.
struct Trial {
  std::int64_t concept_index = 0;
  std::vector<Box> boxes = {};  // of its objects
  /// The paper's difficult ones: the boxes of the class have less than a quarter of the image's area
  /// together, and another class is there, too.
  bool difficult = false;
  bool on_mask = false;  // the image's mask has pixels of it: they count, not the boxes
};

/// The trials of an image, by class: of the boxes of all its objects but crowds, those of classes all of
/// whose objects are marked as difficult by the dataset left out (TorchRay's reading of the paper). Where an
/// image has `labels` and no objects, of the classes of its pixels, whose area is that of the pixels.
std::vector<Trial> trials_of(std::span<const LabelledObject> objects, const LabelMap* labels);

/// Whether pixel (x, y) of an image of height x width pixels lies less than `tolerance` pixels from the
/// class, which is its pixels in `labels` where it is on_mask (of a label map of another size their middles
/// count), else those whose middles lie in its boxes (of a box without any, the pixel of its middle).
bool hits(const Trial& trial, const LabelMap* labels, std::int64_t height, std::int64_t width, std::int64_t x,
          std::int64_t y, double tolerance);

/// The paper's measure.
struct FieldPointing {
  struct Class {
    std::int64_t trials = 0, hits = 0;
  };
  std::vector<Class> classes;  // [C]

  std::int64_t trials() const;
  /// Over classes with a trial, of hits / trials; 0 where there is none.
  double accuracy() const;
};

}  // namespace vitral::infer
