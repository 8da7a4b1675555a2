// Exercise of lesson 12: `scripts/course 12 check` builds 12_exercise.cpp and says what is right.
#pragma once
#include <vector>

struct Box {
  double x0, y0, x1, y1;  // 0..1, from the top left corner of the image
};
struct Game {
  double accuracy, chance;
};
/// The pointing game. cosines[k] [rows * columns], row-major: of object k's concept with each patch of its
/// image; boxes[k]: where it is. accuracy: the fraction of objects whose best patch (the first of equals)
/// shares an area with the box; touching a border is none. chance: the mean over objects of the fraction of
/// patches that do.
Game pointing_game(const std::vector<std::vector<double>>& cosines, const std::vector<Box>& boxes, int rows,
                   int columns);

struct Interval {
  double mean, low, high;
};
/// Of the differences a[k] - b[k] of n seeds, n >= 2: their mean m, and m -+ t s / sqrt(n) with
/// s^2 = sum_k (a[k] - b[k] - m)^2 / (n - 1). t is given.
Interval paired_difference(const std::vector<double>& a, const std::vector<double>& b, double t);
