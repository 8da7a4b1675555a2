// Checks the exercise of lesson 12 against vitral.
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "base/random.h"
#include "docs/course/exercises/12_exercise.h"
#include "infer/measure/patch_scores.h"
#include "infer/measure/pointing.h"
#include "infer/measure/statistics.h"

using namespace vitral;

namespace {

bool near(double a, double b) { return std::abs(a - b) < 1e-9; }

bool check_game() {
  // A case by hand: 2 rows of 3 patches. The box is the middle column; it touches the others and shares
  // nothing.
  const Game small = pointing_game({{0.1, 0.2, 0.9, 0.3, 0.9, 0.0}}, {{1 / 3.0, 0, 2 / 3.0, 1}}, 2, 3);
  if (!near(small.chance, 2.0 / 6)) {
    fmt::print(
        "pointing_game: wrong: expected chance 0.3333 of a box over the middle column of 2 x 3 patches, got "
        "{:.4f}; a patch that only touches the box shares no area with it\n",
        small.chance);
    return false;
  }
  if (!near(small.accuracy, 0)) {
    fmt::print(
        "pointing_game: wrong: expected accuracy 0, got {:.4f}; patches 2 and 4 are equal, and the first "
        "points\n",
        small.accuracy);
    return false;
  }
  constexpr std::int64_t rows = 6, columns = 8, width = 16, objects = 200;
  Random random(1);
  const auto normal = [&](const Shape& shape) {
    Tensor t(shape);
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(random.normal());
    return t;
  };
  const Tensor concepts = normal({3, width}), patches = normal({objects, rows * columns, width});
  std::vector<infer::LabelledObject> labels;
  std::vector<std::vector<double>> cosines;
  std::vector<Box> boxes;
  for (std::int64_t k = 0; k < objects; ++k) {
    const auto edge = [&](int count) {
      return static_cast<int>(random.below(static_cast<std::uint64_t>(count)));
    };
    const int x = edge(3 * columns), y = edge(4 * rows);  // thirds and quarters of patches
    const float x0 = static_cast<float>(x) / (4 * columns), y0 = static_cast<float>(y) / (5 * rows);
    labels.push_back({.image = k, .concept_index = k % 3, .box = {x0, y0, x0 + 0.24F, y0 + 0.19F}});
    const auto& b = labels.back().box;
    boxes.push_back({b[0], b[1], b[2], b[3]});
    const Tensor of_object = infer::patch_cosines(patches.rows(k, k + 1).reshape({rows * columns, width}),
                                                  concepts.rows(k % 3, k % 3 + 1).reshape({width}));
    cosines.push_back(of_object.to_vector());
  }
  const infer::PointingResult real = infer::pointing_game(patches, rows, columns, concepts, labels);
  const Game got = pointing_game(cosines, boxes, rows, columns);
  if (near(got.accuracy, real.accuracy()) && near(got.chance, real.chance())) {
    fmt::print("pointing_game: right\n");
    return true;
  }
  fmt::print(
      "pointing_game: wrong: expected {:.4f} (chance {:.4f}), got {:.4f} ({:.4f}); rows go with y, columns "
      "with x\n",
      real.accuracy(), real.chance(), got.accuracy, got.chance);
  return false;
}

bool check_interval() {
  const std::vector<double> a{0.91, 0.84, 0.95, 0.88}, b{0.79, 0.70, 0.85, 0.74};
  const infer::Estimate real = infer::estimate_difference(a, b);
  const Interval got = paired_difference(a, b, infer::student_t_quantile(0.975, 3));
  if (near(got.mean, real.mean) && near(got.low, real.low) && near(got.high, real.high)) {
    fmt::print("paired_difference: right\n");
    return true;
  }
  const double ratio = (got.high - got.low) / (real.high - real.low);
  fmt::print("paired_difference: wrong: expected {:.4f} [{:.4f}, {:.4f}], got {:.4f} [{:.4f}, {:.4f}]; {}\n",
             real.mean, real.low, real.high, got.mean, got.low, got.high,
             std::abs(ratio - std::sqrt(0.75)) < 1e-6 ? "s^2 divides by n - 1"
             : ratio > 2 ? "take the differences first: what a seed does to both is then gone"
                         : "the interval is m -+ t s / sqrt(n) of the differences");
  return false;
}

}  // namespace

int main() {
  const bool game = check_game(), interval = check_interval();
  return game && interval ? 0 : 1;
}
