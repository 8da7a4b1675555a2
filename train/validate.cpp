#include "train/validate.h"

namespace vitral::train {

std::optional<std::vector<models::NamedValue>> validate(const models::Objective& objective,
                                                        data::Loader& loader, const Teacher* teacher,
                                                        Device device, DType dtype,
                                                        const std::function<bool()>& stop) {
  models::Means means(objective.measures());
  loader.begin_epoch(0);
  while (auto batch = loader.next()) {
    if (stop && stop()) return std::nullopt;
    if (batch->size() == 0) continue;
    if (teacher) batch->targets = teacher->embed(batch->images);
    if (const std::string problem = data::target_problem(*batch, loader.dataset()); !problem.empty())
      throw_error("validation: {}; embed that image again, or remove it", problem);
    means.add(objective.measure(batch->to(device), dtype), batch->size());
  }
  VITRAL_CHECK(means.images() > 0, "validation: {} has no image that can be read",
               loader.dataset().paths().front());
  return means.result();
}

}  // namespace vitral::train
