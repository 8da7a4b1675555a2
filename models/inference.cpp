#include "models/inference.h"

#include <algorithm>

namespace vitral::models {

Download Inference::begin(const Tensor& images, std::int64_t batch, const std::vector<Tensor>& out,
                          const Compute& compute) {
  const NoGrad no_grad;
  const std::lock_guard lock(mutex_);
  Download down(device_);
  for (std::int64_t first = 0; first < images.dim(0); first += batch) {
    const std::int64_t end = std::min(images.dim(0), first + batch);
    Upload& up = uploads_[begun_++ % uploads_.size()];
    up.begin({images.rows(first, end)});
    const auto results = compute(up.to()[0].rows(0, end - first));
    up.end();
    for (std::size_t i = 0; i < out.size(); ++i) {
      const Tensor rows = out[i].rows(first, end);
      down.add(rows, results[i].value().cast(DType::float32).reshape(rows.shape()));
    }
    down.keep(up.take_sources());
  }
  down.end();
  return down;
}

}  // namespace vitral::models
