#include "models/student/student.h"

namespace vitral::models {

Student::Student(const StudentConfig& config, std::uint64_t seed)
    : Student(config, make_head((check(config), config), Random(seed, 0x59U)), seed) {}

Student::Student(const StudentConfig& config, std::unique_ptr<Head> head, std::uint64_t seed)
    : config_((check(config), config)),
      trunk_(part<Trunk>(config, Random(seed, 0x57U))),
      head_(child<Head>("head", std::move(head))) {
  child<nn::LayerNorm>("ln_post", config.width);  // in the file format, never used
  if (config.same_norm) scale_ = &parameter("scale", Tensor::full({1}, 1));
}

StudentOutput Student::forward(const Variable& images, double temperature) const {
  VITRAL_CHECK(images.rank() == 4 && images.dim(1) == 3 && images.dim(2) == config_.image_size &&
                   images.dim(3) == config_.image_size,
               "student: images {} must be [B, 3, {}, {}]", images.shape(), config_.image_size,
               config_.image_size);
  return of_patches(patchify(images, config_.patch_size), temperature);
}

StudentOutput Student::of_patches(const Variable& patches, double temperature,
                                  const nn::ForwardContext& context) const {
  return head_(trunk_(patches, context), scale(), temperature);
}

Variable Student::embed(const Variable& patches, const nn::ForwardContext& context) const {
  return head_.embed(trunk_(patches, context), scale());
}

}  // namespace vitral::models
