#include "train/validate.h"

namespace vitral::train {

std::optional<Validation> validate(const models::Student& student, data::Loader& loader,
                                   const Teacher* teacher, double loss_norm, Device device, DType dtype,
                                   const std::function<bool()>& stop) {
  const NoGrad no_grad;
  Validation v;
  loader.begin_epoch(0);
  while (auto batch = loader.next()) {
    if (stop && stop()) return std::nullopt;
    if (batch->size() == 0) continue;
    if (teacher) batch->targets = teacher->embed(batch->images);
    if (const std::string problem = data::target_problem(*batch, loader.dataset()); !problem.empty())
      throw_error("validation: {}; embed that image again, or remove it", problem);
    const Variable patches = models::pixel_patches(student.config(), batch->images.to(device), {}, dtype);
    const Variable y = l2_normalize(student.embed(patches));
    const Variable t = l2_normalize(Variable(batch->targets.to(device)));
    const auto n = static_cast<double>(batch->size());
    v.loss += n * loss_norm * mean(abs(sub(y, t))).item();
    v.cosine += sum(mul(y, t)).item();
    v.images += batch->size();
  }
  VITRAL_CHECK(v.images > 0, "validation: {} has no image that can be read",
               loader.dataset().paths().front());
  v.loss /= static_cast<double>(v.images);
  v.cosine /= static_cast<double>(v.images);
  return v;
}

}  // namespace vitral::train
