#include "train/validate.h"

#include <algorithm>

#include "processes/share.h"

namespace vitral::train {

namespace {

// Of a loss that compares images: that of the batch alone, times its images; and what it compared.
std::vector<double> sums_of(const models::Objective& objective, const Variable& features) {
  const std::int64_t images = features.dim(0);
  const auto terms = objective.terms_of(features, {}, images);
  return {models::loss_of(terms).item() * static_cast<double>(images)};
}

}  // namespace

Validation validate(const models::Objective& objective, data::Loader& loader, const Teacher* teacher,
                    Device device, DType dtype, const std::function<int()>& stop, Group& group) {
  const NoGrad no_grad;
  const std::int64_t width = objective.feature_width();
  models::Means means(objective.measures());
  std::vector<float> features;  // of all images that could be read, [M,width]
  std::vector<std::int64_t> indices;
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
    if (width == 0) {
      put(made, objective.measure(batch->to(device), dtype));
      return made;
    }
    const Variable compared = objective.features(batch->to(device), dtype, {});
    put(made, sums_of(objective, compared));
    const Tensor rows = compared.value().to(cpu);
    put(made, std::vector<float>(rows.data<float>(), rows.data<float>() + rows.numel()));
    put(made, batch->indices);
    return made;
  };
  const auto add = [&](std::int64_t, Parcel& made) {
    const auto images = get<std::int64_t>(made);
    if (images == 0) return;
    means.add(get<std::vector<double>>(made), images);
    if (width == 0) return;
    const auto rows = get<std::vector<float>>(made);
    features.insert(features.end(), rows.begin(), rows.end());
    const auto of = get<std::vector<std::int64_t>>(made);
    indices.insert(indices.end(), of.begin(), of.end());
  };
  if (const int signal = share_blocks(group, batches, measure, add, stop))
    return {.values = {}, .signal = signal};
  VITRAL_CHECK(means.images() > 0, "validation: {} has no image that can be read",
               loader.dataset().paths().front());
  Validation out{.values = means.result(), .signal = 0};
  if (width == 0) return out;
  const Tensor all = Tensor::from(features, {means.images(), width});
  for (auto& value : objective.measure_whole(all, indices, loader.dataset()))
    out.values.push_back(std::move(value));
  return out;
}

}  // namespace vitral::train
