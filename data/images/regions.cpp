#include "data/images/regions.h"

#include <algorithm>

#include "data/images/image.h"
#include "data/images/resize.h"

namespace vitral::data {

Tensor grid_boxes(int grid) {
  VITRAL_CHECK(grid >= 1, "grid_boxes: a grid of {} cells a side has none", grid);
  Tensor boxes({std::int64_t{grid} * grid, 4});
  float* box = boxes.data<float>();
  const auto at = [&](int k) { return static_cast<float>(static_cast<double>(k) / grid); };
  for (int i = 0; i < grid; ++i)
    for (int j = 0; j < grid; ++j, box += 4)
      box[0] = at(j), box[1] = at(i), box[2] = at(j + 1), box[3] = at(i + 1);
  return boxes;
}

Tensor grid_cells(const Tensor& image, int grid, int size, Filter filter) {
  check_image("grid_cells", image);
  const std::int64_t height = image.dim(0), width = image.dim(1);
  VITRAL_CHECK(grid >= 1 && grid <= std::min(height, width),
               "regions: a picture of {}x{} pixels has no {}x{} cells; ask for fewer regions", width, height,
               grid, grid);
  const auto edge = [&](std::int64_t pixels, int k) { return (2 * k * pixels + grid) / (2LL * grid); };
  Tensor out({std::int64_t{grid} * grid, size, size, 3}, DType::uint8);
  for (int i = 0; i < grid; ++i)
    for (int j = 0; j < grid; ++j) {
      const auto x = static_cast<int>(edge(width, j)), y = static_cast<int>(edge(height, i));
      const Tensor cell = crop(image, x, y, static_cast<int>(edge(width, j + 1)) - x,
                               static_cast<int>(edge(height, i + 1)) - y);
      const std::int64_t k = std::int64_t{i} * grid + j;
      out.rows(k, k + 1).reshape({size, size, 3}).copy_from(resize(cell, size, size, filter));
    }
  return out;
}

}  // namespace vitral::data
