#include "train/teacher.h"

#include <algorithm>

#include "data/images/transform.h"
#include "models/clip/weights.h"
#include "models/student/student.h"

namespace vitral::train {
namespace {

constexpr std::int64_t most_at_once = 64;  // images: a batch of any size takes bounded memory

}  // namespace

Teacher::Teacher(const TeacherConfig& config, const ModelConfig& student, Device device) : device_(device) {
  const data::WeightsFile weights = models::read_clip_weights(config.weights);
  tower_ =
      models::load_clip_image(weights.tensors, weights.metadata, config.weights, config.heads.value_or(0));
  VITRAL_CHECK(tower_->config().embedding == student.width,
               "teacher.weights: {}: its embeddings are {} wide, model.width is {}; set model.width={}",
               config.weights, tower_->config().embedding, student.width, tower_->config().embedding);
  tower_->to(device);
  tower_->pack_weights();
}

Tensor Teacher::embed(const Tensor& images) const {
  const NoGrad no_grad;
  const Tensor pixels = data::resize_batch(images, tower_->config().image_size);
  const std::int64_t count = pixels.dim(0);
  Tensor out = device_.is_cpu() ? Tensor({count, tower_->config().embedding})
                                : Tensor::pinned({count, tower_->config().embedding});
  for (std::int64_t begin = 0; begin < count; begin += most_at_once) {
    const std::int64_t end = std::min(count, begin + most_at_once);
    const auto y = tower_->forward(models::normalize_pixels(pixels.rows(begin, end), device_));
    out.rows(begin, end).copy_from(y.embedding.value());
  }
  return out;
}

}  // namespace vitral::train
