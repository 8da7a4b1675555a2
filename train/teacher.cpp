#include "train/teacher.h"

#include "data/images/transform.h"

namespace vitral::train {

Teacher::Teacher(const TeacherConfig& config, const models::Objective& objective, Device device, DType dtype)
    : encoder_(models::ImageEncoder::load(config.weights, device,
                                          {config.heads.value_or(0), config.activation.value_or("")}, dtype)),
      regions_(config.regions.value_or(0)),
      grid_(objective.places().grid) {
  const int own = encoder_.config().embedding, width = objective.target_width();
  VITRAL_CHECK(own == width,
               "teacher.weights: {}: its embeddings are {} wide, model.width is {}; set model.width={}",
               config.weights, own, width, own);
  if (grid_ > 0) encoder_.require_dense();
}

// A slice has the same bits whatever else is here.
Teacher::Answer Teacher::ask(const data::Inputs& batch, std::int64_t begin, std::int64_t end) const {
  const int size = encoder_.config().image_size;
  const Tensor images = batch.images.rows(begin, end), whole = data::resize_batch(images, size);
  Answer out(begin, end);
  out.parts_.push_back({encoder_.begin_embed(whole), &data::Inputs::targets, 0});
  if (regions_ > 0) {
    const std::int64_t b = images.dim(0), r = std::int64_t{regions_} * regions_;
    const Tensor cells = Tensor::pinned({b * r, size, size, 3}, DType::uint8);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t i = 0; i < b; ++i)
      cells.rows(i * r, (i + 1) * r)
          .copy_from(encoder_.prepare_cells(images.rows(i, i + 1).reshape({images.dim(1), images.dim(2), 3}),
                                            regions_));
    out.parts_.push_back({encoder_.begin_embed(cells), &data::Inputs::region_targets, r});
  }
  if (grid_ > 0)
    out.parts_.push_back(
        {encoder_.begin_dense(whole, models::DenseTokens::naclip, grid_), &data::Inputs::patch_targets, 0});
  return out;
}

void Teacher::Answer::add_to(data::Inputs& batch) {
  const std::int64_t rows = batch.images.dim(0);
  for (Part& part : parts_) {
    Tensor from = part.values.get();
    if (part.each > 0) from = from.reshape({end_ - begin_, part.each, from.dim(1)});
    Tensor& to = batch.*part.member;
    if (end_ - begin_ == rows) {
      to = from;
      continue;
    }
    if (!to.defined()) to = Tensor(from.shape().with(0, rows), from.dtype());
    to.rows(begin_, end_).copy_from(from);
  }
}

}  // namespace vitral::train
