// The pointing game: does a model that never saw where an object is know it anyway? For each labelled object,
// the patch whose embedding has the highest cosine with the object's concept must overlap the object's box.
// After Zhang et al., "Top-down Neural Attention by Excitation Backprop" (ECCV 2016), on patches instead of
// pixels, without their margin of 15 pixels, and averaged over objects.
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
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "infer/measure/objects.h"

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

/// Which patches of a rows x columns grid overlap the box, at least one: row-major, 1 or 0.
std::vector<std::uint8_t> overlapping_patches(const Box& box, std::int64_t rows, std::int64_t columns);

}  // namespace vitral::infer
