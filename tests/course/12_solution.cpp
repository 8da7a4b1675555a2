#include <cmath>
#include <cstddef>

#include "docs/course/exercises/12_exercise.h"

Game pointing_game(const std::vector<std::vector<double>>& cosines, const std::vector<Box>& boxes, int rows,
                   int columns) {
  Game game{0, 0};
  for (std::size_t k = 0; k < boxes.size(); ++k) {
    const Box& b = boxes[k];
    const auto shares = [&](int n) {
      const int row = n / columns, column = n % columns;
      return column < b.x1 * columns && column + 1 > b.x0 * columns && row < b.y1 * rows &&
             row + 1 > b.y0 * rows;
    };
    int best = 0, right = 0;
    for (int n = 0; n < rows * columns; ++n) {
      if (cosines[k][static_cast<std::size_t>(n)] > cosines[k][static_cast<std::size_t>(best)]) best = n;
      right += shares(n) ? 1 : 0;
    }
    const auto objects = static_cast<double>(boxes.size());
    game.accuracy += (shares(best) ? 1 : 0) / objects;
    game.chance += static_cast<double>(right) / (rows * columns) / objects;
  }
  return game;
}

Interval paired_difference(const std::vector<double>& a, const std::vector<double>& b, double t) {
  const auto n = static_cast<double>(a.size());
  double mean = 0, squares = 0;
  for (std::size_t k = 0; k < a.size(); ++k) mean += (a[k] - b[k]) / n;
  for (std::size_t k = 0; k < a.size(); ++k) squares += (a[k] - b[k] - mean) * (a[k] - b[k] - mean);
  const double half = t * std::sqrt(squares / (n - 1)) / std::sqrt(n);
  return {mean, mean - half, mean + half};
}
