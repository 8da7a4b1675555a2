// A solution of the exercises of lesson 3.
#include <algorithm>
#include <cmath>

#include "docs/course/exercises/03_exercise.h"

namespace exercise {

void rms_norm(double* y, double* rstd, const double* x, const double* weight, int rows, int width,
              double eps) {
  for (int r = 0; r < rows; ++r, x += width, y += width) {
    double squares = 0;
    for (int i = 0; i < width; ++i) squares += x[i] * x[i];
    rstd[r] = 1 / std::sqrt(squares / width + eps);
    for (int i = 0; i < width; ++i) y[i] = x[i] * rstd[r] * weight[i];
  }
}

void rms_norm_backward(double* dx, double* dweight, const double* dy, const double* x, const double* weight,
                       const double* rstd, int rows, int width) {
  std::fill(dweight, dweight + width, 0.0);
  for (int r = 0; r < rows; ++r, x += width, dy += width, dx += width) {
    double mean_gx = 0;
    for (int i = 0; i < width; ++i) {
      const double xhat = x[i] * rstd[r];
      mean_gx += dy[i] * weight[i] * xhat / width;
      dweight[i] += dy[i] * xhat;
    }
    for (int i = 0; i < width; ++i) dx[i] = rstd[r] * (dy[i] * weight[i] - x[i] * rstd[r] * mean_gx);
  }
}

}  // namespace exercise
