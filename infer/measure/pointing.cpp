#include "infer/measure/pointing.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "infer/measure/patch_scores.h"

namespace vitral::infer {
namespace {

constexpr double sliver = 1e-4;  // of a patch

// One axis: cells [begin, end) of `count` that share more than a sliver with [low, high]; the cell of its
// middle where it is thinner than that.
std::pair<std::int64_t, std::int64_t> covered(double low, double high, std::int64_t count) {
  const auto n = static_cast<double>(count);
  const auto begin = static_cast<std::int64_t>(std::floor(low * n + sliver));
  const auto end = static_cast<std::int64_t>(std::ceil(high * n - sliver));
  if (begin < end)
    return {std::clamp<std::int64_t>(begin, 0, count), std::clamp<std::int64_t>(end, 0, count)};
  const auto middle = static_cast<std::int64_t>(std::floor((low + high) / 2 * n));
  const std::int64_t cell = std::clamp<std::int64_t>(middle, 0, count - 1);
  return {cell, cell + 1};
}

}  // namespace

std::vector<std::uint8_t> overlapping_patches(const Box& box, std::int64_t rows, std::int64_t columns) {
  VITRAL_CHECK(rows > 0 && columns > 0, "pointing_game: grid {}x{} has no patches", rows, columns);
  const auto [left, right] = covered(box[0], box[2], columns);
  const auto [top, bottom] = covered(box[1], box[3], rows);
  std::vector<std::uint8_t> patches(static_cast<std::size_t>(rows * columns), 0);
  for (std::int64_t r = top; r < bottom; ++r)
    for (std::int64_t c = left; c < right; ++c) patches[static_cast<std::size_t>(r * columns + c)] = 1;
  return patches;
}

PointingGame::PointingGame(const Tensor& concepts, std::int64_t rows, std::int64_t columns)
    : concepts_(concepts), rows_(rows), columns_(columns) {
  check_concepts("pointing_game", concepts, rows, columns);
}

void PointingGame::add(const Tensor& patch_embeddings, std::span<const LabelledObject> objects) {
  check_objects("pointing_game", patch_embeddings, rows_, columns_, concepts_, objects);
  const Shape& shape = patch_embeddings.shape();
  for (const LabelledObject& o : objects) {
    const Tensor patches = patch_embeddings.rows(o.image, o.image + 1).reshape({shape.dim(1), shape.dim(2)});
    const Tensor target = concepts_.rows(o.concept_index, o.concept_index + 1).reshape({shape.dim(2)});
    const std::int64_t pointed = pointed_patch(patch_cosines(patches, target));
    const auto right = overlapping_patches(o.box, rows_, columns_);
    ++result_.objects;
    result_.hits += pointed >= 0 && right[static_cast<std::size_t>(pointed)] != 0 ? 1 : 0;
    result_.overlap += static_cast<double>(std::ranges::count(right, 1)) / static_cast<double>(right.size());
  }
}

PointingResult pointing_game(const Tensor& patch_embeddings, std::int64_t rows, std::int64_t columns,
                             const Tensor& concepts, std::span<const LabelledObject> objects) {
  PointingGame game(concepts, rows, columns);
  game.add(patch_embeddings, objects);
  return game.result();
}

}  // namespace vitral::infer
