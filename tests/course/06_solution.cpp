#include <cstddef>

#include "docs/course/exercises/06_exercise.h"

void patchify(float* patches, const float* image, int channels, int height, int width, int p) {
  const int rows = height / p, columns = width / p;
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c)
      for (int ch = 0; ch < channels; ++ch)
        for (int y = 0; y < p; ++y)
          for (int x = 0; x < p; ++x)
            patches[(r * columns + c) * channels * p * p + (ch * p + y) * p + x] =
                image[(ch * height + r * p + y) * width + c * p + x];
}

// Backwards: what the last layer's result needs of the layer before, and so on to the patches.
std::vector<char> receptive_field(int i, int side, int window, int dilation, int registers, int layers) {
  const int reach = window / 2;
  std::vector<char> needed(static_cast<std::size_t>(side) * static_cast<std::size_t>(side), 0);
  needed[static_cast<std::size_t>(i)] = 1;
  bool register_needed = false;
  for (int layer = 0; layer < layers; ++layer) {
    // A register that is needed sees all patches.
    std::vector<char> before(needed.size(), register_needed ? 1 : 0);
    for (int j = 0; j < side * side; ++j) {
      if (!needed[static_cast<std::size_t>(j)]) continue;
      for (int a = -reach; a <= reach; ++a)
        for (int b = -reach; b <= reach; ++b) {
          const int row = j / side + dilation * a, column = j % side + dilation * b;
          if (row >= 0 && row < side && column >= 0 && column < side)
            before[static_cast<std::size_t>(row * side + column)] = 1;
        }
    }
    needed = before;
    register_needed = registers > 0;
  }
  return needed;
}
