#include "models/student/regions.h"

#include <vector>

namespace vitral::models {

Tensor region_means(const Tensor& boxes, int grid) {
  VITRAL_CHECK(boxes.rank() == 2 && boxes.dim(1) == 4 && boxes.dtype() == DType::float32 && grid >= 1,
               "region_means: boxes {} {} must be float32 [R, 4], the grid {} at least 1", boxes.dtype(),
               boxes.shape(), grid);
  const std::int64_t tokens = std::int64_t{grid} * grid;
  Tensor means = Tensor::zeros({boxes.dim(0), tokens});
  const auto middle = [&](std::int64_t i) {
    return static_cast<float>((static_cast<double>(i) + 0.5) / grid);
  };
  for (std::int64_t r = 0; r < boxes.dim(0); ++r) {
    const float* b = boxes.data<float>() + r * 4;
    std::vector<std::int64_t> inside;
    for (std::int64_t n = 0; n < tokens; ++n) {
      const float x = middle(n % grid), y = middle(n / grid);
      if (b[0] <= x && x < b[2] && b[1] <= y && y < b[3]) inside.push_back(n);
    }
    VITRAL_CHECK(
        !inside.empty(),
        "train.objective.regions: region {} ({}, {}, {}, {}) has no patch of the {} x {} whose middle lies "
        "in it; take fewer regions",
        r, b[0], b[1], b[2], b[3], grid, grid);
    for (const std::int64_t n : inside)
      means.data<float>()[r * tokens + n] = static_cast<float>(1.0 / static_cast<double>(inside.size()));
  }
  return means;
}

}  // namespace vitral::models
