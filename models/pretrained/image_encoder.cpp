#include "models/pretrained/image_encoder.h"

#include <algorithm>

#include "data/images/regions.h"
#include "models/finite.h"
#include "models/pretrained/families.h"

namespace vitral::models {
namespace {

// What the files leave open is the family's.
Preprocessing merged(Preprocessing given, const Preprocessing& usual) {
  if (!given.statistics_given) given.statistics = usual.statistics;
  if (!given.resize_crop_given) given.resize_crop = usual.resize_crop;
  return given;
}

// Of float32 [B,...] rows, in pieces of at most `batch`.
template <typename Compute>
void in_pieces(std::int64_t count, std::int64_t batch, const std::string& path, Tensor& out,
               const Compute& compute) {
  const NoGrad no_grad;
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t end = std::min(count, begin + batch);
    out.rows(begin, end).copy_from(compute(begin, end).value());
  }
  require_finite(out, path, "the weights are damaged, get them again");
}

}  // namespace

ImageEncoder ImageEncoder::load(const std::string& path, Device device, const TowerChoices& choices) {
  const Checkpoint checkpoint = read_checkpoint(path, data::TensorMemory::mapped);
  const Metadata config = with_choices(checkpoint.config, "vision_config", choices);
  const Family& family = family_of(checkpoint);
  ImageEncoder out;
  out.path_ = path;
  out.preprocessing_ = merged(checkpoint.preprocessing, family.preprocessing);
  out.tower_ = family.image(checkpoint.tensors, config, path, out.preprocessing_.size);
  out.tower_->to(device);
  out.tower_->pack_weights();
  out.family_ = family.name;
  out.guessed_ = guessed_of(checkpoint.tensors, config, "vision_config", family.usual, out.config().block);
  out.device_ = device;
  return out;
}

std::string ImageEncoder::description() const {
  const auto& [mean, std] = preprocessing_.statistics;
  return fmt::format("{}, mean {}, std {}", describe(family_, config().block), fmt::join(mean, " "),
                     fmt::join(std, " "));
}

Tensor ImageEncoder::prepare(const Tensor& image, data::PlainTransform transform) const {
  const int size = config().image_size;
  if (transform == data::PlainTransform::resize) return data::validation_transform(image, size);
  return data::resize_crop(image, size, resize_crop_for(preprocessing_, size));
}

Tensor ImageEncoder::prepare_cells(const Tensor& image, int grid) const {
  return data::grid_cells(image, grid, config().image_size, preprocessing_.resize_crop.filter);
}

Tensor ImageEncoder::embed(const Tensor& images, std::int64_t batch) const {
  // A copy from a GPU to other memory goes through pinned memory anyway, and one back to it from there.
  const Shape shape{images.dim(0), config().embedding};
  Tensor out = device_.is_cpu() ? Tensor(shape) : Tensor::pinned(shape);
  in_pieces(images.dim(0), batch, path_, out, [&](std::int64_t begin, std::int64_t end) {
    return tower_->forward(normalize_pixels(images.rows(begin, end), device_, preprocessing_.statistics))
        .embedding;
  });
  return out;
}

Tensor ImageEncoder::attention(const Tensor& images, std::int64_t batch) const {
  Tensor out({images.dim(0), config().tokens()});
  in_pieces(images.dim(0), batch, path_, out, [&](std::int64_t begin, std::int64_t end) {
    return tower_
        ->forward(normalize_pixels(images.rows(begin, end), device_, preprocessing_.statistics), true)
        .attention;
  });
  return out;
}

Tensor ImageEncoder::dense(const Tensor& images, DenseTokens way, int grid, std::int64_t batch) const {
  require_dense();
  Tensor out({images.dim(0), std::int64_t{grid} * grid, config().embedding});
  in_pieces(images.dim(0), batch, path_, out, [&](std::int64_t begin, std::int64_t end) {
    const Tensor pixels = images.rows(begin, end);
    return on_grid(tower_->dense(normalize_pixels(pixels, device_, preprocessing_.statistics), way), grid);
  });
  return out;
}

void ImageEncoder::require_dense() const {
  VITRAL_CHECK(tower_->has_dense(),
               "{}: {} has no dense tokens (of its patches, in the space of its embeddings); "
               "take a CLIP",
               path_, family_);
}

}  // namespace vitral::models
