#include "docs/course/exercises/12_exercise.h"

// Begin here: write a function that says whether patch n shares an area with a box. Patch n lies in row
// n / columns and column n % columns, and covers [column, column + 1] / columns x [row, row + 1] / rows.
Game pointing_game(const std::vector<std::vector<double>>& /*cosines*/, const std::vector<Box>& /*boxes*/,
                   int /*rows*/, int /*columns*/) {
  return {0, 0};
}

// Begin with the vector of differences; then forget a and b.
Interval paired_difference(const std::vector<double>& /*a*/, const std::vector<double>& /*b*/, double /*t*/) {
  return {0, 0, 0};
}
