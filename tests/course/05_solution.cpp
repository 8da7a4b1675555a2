#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "docs/course/exercises/05_exercise.h"

bool sees(int i, int j, int /*rows*/, int columns, int window, int dilation) {
  const auto near = [&](int distance) {
    return distance % dilation == 0 && std::abs(distance / dilation) <= window / 2;
  };
  return near(i / columns - j / columns) && near(i % columns - j % columns);
}

void dilated_attention(double* out, const double* q, const double* k, const double* v, int rows, int columns,
                       int size, int window, int dilation) {
  const int reach = window / 2;
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c) {
      const int i = r * columns + c;
      std::vector<int> tokens;
      std::vector<double> scores;
      for (int a = -reach; a <= reach; ++a)
        for (int b = -reach; b <= reach; ++b) {
          const int row = r + dilation * a, column = c + dilation * b;
          if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
          const int j = row * columns + column;
          double sum = 0;
          for (int d = 0; d < size; ++d) sum += q[i * size + d] * k[j * size + d];
          tokens.push_back(j);
          scores.push_back(sum / std::sqrt(size));
        }
      const double maximum = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& s : scores) total += s = std::exp(s - maximum);
      for (int d = 0; d < size; ++d) out[i * size + d] = 0;
      for (std::size_t n = 0; n < tokens.size(); ++n)
        for (int d = 0; d < size; ++d) out[i * size + d] += scores[n] / total * v[tokens[n] * size + d];
    }
}

int neighbours(int i, int rows, int columns, int window, int dilation) {
  const auto along = [&](int place, int length) {  // those before, the token itself, those after
    const int before = std::min(window / 2, place / dilation);
    const int after = std::min(window / 2, (length - 1 - place) / dilation);
    return before + 1 + after;
  };
  return along(i / columns, rows) * along(i % columns, columns);
}
