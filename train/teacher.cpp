#include "train/teacher.h"

#include "data/images/transform.h"

namespace vitral::train {

Teacher::Teacher(const TeacherConfig& config, int width, Device device)
    : encoder_(models::ImageEncoder::load(config.weights, device,
                                          {config.heads.value_or(0), config.activation.value_or("")})) {
  const int own = encoder_.config().embedding;
  VITRAL_CHECK(own == width,
               "teacher.weights: {}: its embeddings are {} wide, model.width is {}; set model.width={}",
               config.weights, own, width, own);
}

Tensor Teacher::embed(const Tensor& images) const {
  return encoder_.embed(data::resize_batch(images, encoder_.config().image_size));
}

}  // namespace vitral::train
