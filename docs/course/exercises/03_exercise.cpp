// The exercises of lesson 3, for you to write; docs/course/exercises/03_exercise.h says what each gives.
#include "docs/course/exercises/03_exercise.h"

namespace exercise {

void rms_norm(double* y, double* rstd, const double* x, const double* weight, int rows, int width,
              double eps) {
  // Begin here: for each row the sum of the squares, then rstd[r], then the row of y.
  static_cast<void>(x);
  static_cast<void>(weight);
  static_cast<void>(eps);
  for (int i = 0; i < rows * width; ++i) y[i] = 0;
  for (int r = 0; r < rows; ++r) rstd[r] = 0;
}

void rms_norm_backward(double* dx, double* dweight, const double* dy, const double* x, const double* weight,
                       const double* rstd, int rows, int width) {
  // Begin here: with xhat_i = x_i rstd and g_i = dy_i weight_i, the mean of g xhat over the row, then dx.
  // dweight_i is a sum over all rows: set it to zero before.
  static_cast<void>(dy);
  static_cast<void>(x);
  static_cast<void>(weight);
  static_cast<void>(rstd);
  for (int i = 0; i < rows * width; ++i) dx[i] = 0;
  for (int i = 0; i < width; ++i) dweight[i] = 0;
}

}  // namespace exercise
