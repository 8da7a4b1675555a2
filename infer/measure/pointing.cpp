#include "infer/measure/pointing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/vectors.h"

namespace vitral::infer {
namespace {

constexpr double sliver = 1e-4;  // of a patch

void check_box(const char* operation, const Box& box, std::size_t object) {
  const auto [x0, y0, x1, y1] = box;
  const auto inside = [](float v) { return v >= -1e-3F && v <= 1 + 1e-3F; };  // false for NaN
  VITRAL_CHECK(std::ranges::all_of(box, inside) && x0 <= x1 && y0 <= y1,
               "{}: object {} has the box ({}, {}, {}, {}), it must be x0 <= x1, y0 <= y1 in 0..1", operation,
               object, x0, y0, x1, y1);
}

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

Tensor patch_cosines(const Tensor& patch_embeddings, const Tensor& concept_embedding) {
  VITRAL_CHECK(patch_embeddings.rank() == 2 && concept_embedding.rank() == 1 &&
                   patch_embeddings.dim(1) == concept_embedding.dim(0),
               "patch_cosines: concept {} must match last dim of patches {}", concept_embedding.shape(),
               patch_embeddings.shape());
  const std::int64_t patches = patch_embeddings.dim(0), width = patch_embeddings.dim(1);
  Tensor cosines({patches});
  for (std::int64_t n = 0; n < patches; ++n)
    cosines.data<float>()[n] = static_cast<float>(
        cosine(patch_embeddings.data<float>() + n * width, concept_embedding.data<float>(), width));
  return cosines;
}

std::int64_t pointed_patch(const Tensor& scores) {
  const float* s = scores.data<float>();
  std::int64_t best = -1;
  for (std::int64_t n = 0; n < scores.numel(); ++n)
    if (std::isfinite(s[n]) && (best < 0 || s[n] > s[best])) best = n;
  return best;
}

void check_concepts(const char* operation, const Tensor& concepts, std::int64_t rows, std::int64_t columns) {
  VITRAL_CHECK(concepts.rank() == 2 && concepts.dtype() == DType::float32 && concepts.numel() > 0,
               "{}: concepts {} {} must be float32 [C, D]", operation, concepts.dtype(), concepts.shape());
  VITRAL_CHECK(rows > 0 && columns > 0, "{}: grid {}x{} has no patches", operation, rows, columns);
}

void check_objects(const char* operation, const Tensor& patch_embeddings, std::int64_t rows,
                   std::int64_t columns, const Tensor& concepts, std::span<const LabelledObject> objects) {
  const Shape& shape = patch_embeddings.shape();
  VITRAL_CHECK(shape.rank() == 3 && patch_embeddings.dtype() == DType::float32,
               "{}: patches {} {} must be float32 [B, N, D]", operation, patch_embeddings.dtype(), shape);
  VITRAL_CHECK(shape.dim(0) > 0, "{}: patches {} hold no images", operation, shape);
  VITRAL_CHECK(concepts.dim(1) == shape.dim(2), "{}: concepts {} must match last dim of patches {}",
               operation, concepts.shape(), shape);
  VITRAL_CHECK(shape.dim(1) == rows * columns, "{}: patches {} must be those of a {}x{} grid", operation,
               shape, rows, columns);
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const LabelledObject& o = objects[i];
    VITRAL_CHECK(o.image >= 0 && o.image < shape.dim(0), "{}: object {} is in image {}, images are 0..{}",
                 operation, i, o.image, shape.dim(0) - 1);
    VITRAL_CHECK(o.concept_index >= 0 && o.concept_index < concepts.dim(0),
                 "{}: object {} has concept {}, concepts are 0..{}", operation, i, o.concept_index,
                 concepts.dim(0) - 1);
    check_box(operation, o.box, i);
  }
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
