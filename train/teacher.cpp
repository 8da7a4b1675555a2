#include "train/teacher.h"

#include "data/images/transform.h"

namespace vitral::train {

Teacher::Teacher(const TeacherConfig& config, const models::Objective& objective, Device device)
    : encoder_(models::ImageEncoder::load(config.weights, device,
                                          {config.heads.value_or(0), config.activation.value_or("")})),
      regions_(config.regions.value_or(0)),
      grid_(objective.places().grid) {
  const int own = encoder_.config().embedding, width = objective.target_width();
  VITRAL_CHECK(own == width,
               "teacher.weights: {}: its embeddings are {} wide, model.width is {}; set model.width={}",
               config.weights, own, width, own);
  if (grid_ > 0) encoder_.require_dense();
}

data::Inputs Teacher::targets_of(const Tensor& images) const {
  const int size = encoder_.config().image_size;
  const Tensor whole = data::resize_batch(images, size);
  data::Inputs out;
  out.targets = encoder_.embed(whole);
  if (regions_ > 0) {
    const std::int64_t b = images.dim(0), r = std::int64_t{regions_} * regions_;
    Tensor cells({b * r, size, size, 3}, DType::uint8);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t i = 0; i < b; ++i)
      cells.rows(i * r, (i + 1) * r)
          .copy_from(encoder_.prepare_cells(images.rows(i, i + 1).reshape({images.dim(1), images.dim(2), 3}),
                                            regions_));
    out.region_targets = encoder_.embed(cells).reshape({b, r, encoder_.config().embedding});
  }
  if (grid_ > 0) out.patch_targets = encoder_.dense(whole, models::DenseTokens::naclip, grid_);
  return out;
}

// A slice has the same bits whatever else is here.
void Teacher::add_targets(data::Inputs& batch, std::int64_t begin, std::int64_t end) const {
  const std::int64_t rows = batch.images.dim(0);
  const data::Inputs made = targets_of(batch.images.rows(begin, end));
  for (const auto& kind : data::target_kinds) {
    const Tensor& from = made.*kind.member;
    Tensor& to = batch.*kind.member;
    if (!from.defined()) continue;
    if (from.dim(0) == rows) {
      to = from;
      continue;
    }
    if (!to.defined()) to = Tensor(from.shape().with(0, rows), from.dtype());
    to.rows(begin, end).copy_from(from);
  }
}

}  // namespace vitral::train
