#include "train/validate.h"

#include <algorithm>

#include "processes/share.h"

namespace vitral::train {

Validation validate(const models::Objective& objective, data::Loader& loader, const Teacher* teacher,
                    Device device, DType dtype, const std::function<int()>& stop, Group& group) {
  models::Means means(objective.measures());
  const std::int64_t batches = loader.batches_per_epoch();
  loader.begin_epoch(0, std::min<std::int64_t>(group.rank(), batches));
  const auto measure = [&](std::int64_t) {
    Parcel made;
    auto batch = loader.next();
    put(made, batch->size());
    if (batch->size() == 0) return made;
    if (teacher) teacher->add_targets(*batch, 0, batch->size());
    if (const std::string problem = data::target_problem(*batch, loader.dataset()); !problem.empty())
      throw_error("validation: {}; embed that image again, or remove it", problem);
    put(made, objective.measure(batch->to(device), dtype));
    return made;
  };
  const auto add = [&](std::int64_t, Parcel& made) {
    const auto images = get<std::int64_t>(made);
    if (images == 0) return;
    means.add(get<std::vector<double>>(made), images);
  };
  if (const int signal = share_blocks(group, batches, measure, add, stop))
    return {.values = {}, .signal = signal};
  VITRAL_CHECK(means.images() > 0, "validation: {} has no image that can be read",
               loader.dataset().paths().front());
  return {.values = means.result(), .signal = 0};
}

}  // namespace vitral::train
