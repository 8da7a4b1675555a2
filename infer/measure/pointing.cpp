#include "infer/measure/pointing.h"

#include <algorithm>
#include <cmath>
#include <map>
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

Cells overlapping_patches(const Box& box, std::int64_t rows, std::int64_t columns) {
  VITRAL_CHECK(rows > 0 && columns > 0, "pointing_game: grid {}x{} has no patches", rows, columns);
  const auto [left, right] = covered(box[0], box[2], columns);
  const auto [top, bottom] = covered(box[1], box[3], rows);
  return {top, bottom, left, right};
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
    const Cells right = overlapping_patches(o.box, rows_, columns_);
    ++result_.objects;
    result_.hits += pointed >= 0 && right.hold(pointed / columns_, pointed % columns_) ? 1 : 0;
    result_.overlap += static_cast<double>(right.count()) / static_cast<double>(rows_ * columns_);
  }
}

PointingResult pointing_game(const Tensor& patch_embeddings, std::int64_t rows, std::int64_t columns,
                             const Tensor& concepts, std::span<const LabelledObject> objects) {
  PointingGame game(concepts, rows, columns);
  game.add(patch_embeddings, objects);
  return game.result();
}

std::vector<Trial> trials_of(std::span<const LabelledObject> objects, const LabelMap* labels) {
  struct Class {
    std::vector<Box> boxes;
    double area = 0;  // of the image
    bool counts = false;
  };
  std::map<std::int64_t, Class> classes;
  for (const LabelledObject& o : objects) {
    if (o.crowd) continue;
    Class& c = classes[o.concept_index];
    c.boxes.push_back(o.box);
    c.area += double{o.box[2] - o.box[0]} * double{o.box[3] - o.box[1]};
    c.counts |= !o.difficult;
  }
  std::map<std::uint16_t, std::int64_t> pixels;  // of each label
  if (labels) {
    std::vector<std::int64_t> counts(std::size_t{LabelMap::ignore} + 1, 0);
    for (const std::uint16_t l : labels->labels) ++counts[l];
    for (std::uint16_t l = LabelMap::none + 1; l < LabelMap::ignore; ++l)
      if (counts[l] > 0) pixels.emplace(l, counts[l]);
  }
  if (objects.empty())
    for (const auto& [label, count] : pixels)
      classes[label - 1] = {.boxes = {},
                            .area = static_cast<double>(count) / static_cast<double>(labels->labels.size()),
                            .counts = true};
  std::vector<Trial> out;
  for (auto& [number, c] : classes)
    if (c.counts)
      out.push_back({number, std::move(c.boxes), c.area < 0.25 && classes.size() > 1,
                     pixels.contains(static_cast<std::uint16_t>(number + 1))});
  return out;
}

bool hits(const Trial& trial, const LabelMap* labels, std::int64_t height, std::int64_t width, std::int64_t x,
          std::int64_t y, double tolerance) {
  const auto near = [&](double down, double along) {
    return down * down + along * along < tolerance * tolerance;
  };
  if (trial.on_mask) {
    const auto label = static_cast<std::uint16_t>(trial.concept_index + 1);
    // Of the pixels of the label map that can be near: [first, last], and where their middles lie.
    struct Side {
      double scale;
      std::int64_t first, last;
      double place(std::int64_t pixel) const { return (static_cast<double>(pixel) + 0.5) * scale - 0.5; }
    };
    const auto side = [&](std::int64_t pixel, std::int64_t pixels, std::int64_t of_map) -> Side {
      const double scale = static_cast<double>(pixels) / static_cast<double>(of_map);
      const double middle = (static_cast<double>(pixel) + 0.5) / scale - 0.5, reach = tolerance / scale;
      return {scale, std::max<std::int64_t>(static_cast<std::int64_t>(std::floor(middle - reach)), 0),
              std::min(static_cast<std::int64_t>(std::ceil(middle + reach)), of_map - 1)};
    };
    const Side down = side(y, height, labels->height), along = side(x, width, labels->width);
    for (std::int64_t v = down.first; v <= down.last; ++v)
      for (std::int64_t u = along.first; u <= along.last; ++u)
        if (labels->labels[static_cast<std::size_t>(v * labels->width + u)] == label &&
            near(down.place(v) - static_cast<double>(y), along.place(u) - static_cast<double>(x)))
          return true;
    return false;
  }
  // How far a pixel is from those whose middles lie in [low, high).
  const auto away = [](std::int64_t pixel, double low, double high, std::int64_t pixels) {
    const auto n = static_cast<double>(pixels);
    auto first = static_cast<std::int64_t>(std::ceil(low * n - 0.5));
    auto last = static_cast<std::int64_t>(std::ceil(high * n - 0.5)) - 1;
    if (first > last) first = last = static_cast<std::int64_t>((low + high) / 2 * n);
    first = std::clamp<std::int64_t>(first, 0, pixels - 1);
    last = std::clamp<std::int64_t>(last, 0, pixels - 1);
    return std::max<std::int64_t>({first - pixel, pixel - last, 0});
  };
  return std::ranges::any_of(trial.boxes, [&](const Box& b) {
    return near(static_cast<double>(away(y, b[1], b[3], height)),
                static_cast<double>(away(x, b[0], b[2], width)));
  });
}

std::int64_t FieldPointing::trials() const {
  std::int64_t sum = 0;
  for (const Class& c : classes) sum += c.trials;
  return sum;
}

double FieldPointing::accuracy() const {
  double sum = 0;
  std::int64_t played = 0;
  for (const Class& c : classes)
    if (c.trials > 0) {
      sum += static_cast<double>(c.hits) / static_cast<double>(c.trials);
      ++played;
    }
  return played > 0 ? sum / static_cast<double>(played) : 0;
}

}  // namespace vitral::infer
