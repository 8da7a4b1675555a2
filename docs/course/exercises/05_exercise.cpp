#include "docs/course/exercises/05_exercise.h"

bool sees(int i, int j, int /*rows*/, int /*columns*/, int /*window*/, int /*dilation*/) {
  // Begin with the rows and columns of both: i / columns, i % columns. The sign of a remainder is that of
  // what is divided.
  return i == j;
}

void dilated_attention(double* out, const double* /*q*/, const double* /*k*/, const double* /*v*/, int rows,
                       int columns, int size, int /*window*/, int /*dilation*/) {
  // Begin with two loops over a and b around each token, and leave out what lies beside the grid. Softmax
  // needs all scores of a token first, or attend_online() of the lesson.
  for (int n = 0; n < rows * columns * size; ++n) out[n] = 0;
}

int neighbours(int /*i*/, int /*rows*/, int /*columns*/, int /*window*/, int /*dilation*/) {
  // By counting, or by a product of two numbers.
  return 1;
}
