#include "train/micro_batches.h"

#include <algorithm>
#include <utility>

#include "tensor/ops/augment.h"

namespace vitral::train {
namespace {

// What the loader has left to the device.
data::Inputs augmented(data::Inputs piece, std::int64_t image_size) {
  if (!piece.augmentations.defined()) return piece;
  Tensor images(Shape{piece.images.dim(0), image_size, image_size, 3}, DType::uint8, piece.images.device());
  kernel::augment(images, piece.images, piece.augmentations);
  piece.images = std::move(images);
  piece.augmentations = {};
  return piece;
}

}  // namespace

void MicroBatches::for_each(const data::Inputs& inputs, const BatchRows& rows, std::int64_t size,
                            const Work& work) const {
  for (std::int64_t begin = 0; begin < rows.size(); begin += size) {
    const std::int64_t end = std::min(rows.size(), begin + size);
    work(augmented(inputs.rows(rows.begin + begin, rows.begin + end), objective_.image_size()),
         {.training = true, .seed = seed_, .step = step_, .first_sample = rows.first_sample + begin}, begin,
         end);
  }
}

void MicroBatches::features(Tensor& to, const data::Inputs& inputs, const BatchRows& rows,
                            std::int64_t size) const {
  const NoGrad no_grad;
  for_each(inputs, rows, size, [&](const auto& piece, const auto& context, auto begin, auto end) {
    to.rows(begin, end).copy_from(objective_.features(piece, dtype_, context).value());
  });
}

void MicroBatches::carry_back(const Tensor& gradient, const data::Inputs& inputs, const BatchRows& rows,
                              std::int64_t size) const {
  for_each(inputs, rows, size, [&](const auto& piece, const auto& context, auto begin, auto end) {
    // The gradient of this sum is the rows themselves.
    sum(mul(objective_.features(piece, dtype_, context), Variable(gradient.rows(begin, end)))).backward();
  });
}

}  // namespace vitral::train
