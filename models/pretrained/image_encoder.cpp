#include "models/pretrained/image_encoder.h"

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

}  // namespace

ImageEncoder ImageEncoder::load(const std::string& path, Device device, const TowerChoices& choices,
                                DType dtype) {
  const Checkpoint checkpoint = read_checkpoint(path, data::TensorMemory::mapped);
  const Metadata config = with_choices(checkpoint.config, "vision_config", choices);
  const Family& family = family_of(checkpoint);
  ImageEncoder out(device);
  out.path_ = path;
  out.dtype_ = dtype;
  out.preprocessing_ = merged(checkpoint.preprocessing, family.preprocessing);
  out.tower_ = family.image(checkpoint.tensors, config, path, out.preprocessing_.size);
  out.tower_->to(device);
  if (dtype != DType::float32) out.tower_->keep_copies(dtype);
  out.tower_->pack_weights();
  out.family_ = family.name;
  out.guessed_ = guessed_of(checkpoint.tensors, config, "vision_config", family.usual, out.config().block);
  return out;
}

std::string ImageEncoder::description() const {
  const auto& [mean, std] = preprocessing_.statistics;
  return fmt::format("{}, mean {}, std {}{}", describe(family_, config().block), fmt::join(mean, " "),
                     fmt::join(std, " "), dtype_ == DType::bfloat16 ? ", bf16" : "");
}

Tensor ImageEncoder::prepare(const Tensor& image, data::PlainTransform transform) const {
  const int size = config().image_size;
  if (transform == data::PlainTransform::resize) return data::validation_transform(image, size);
  return data::resize_crop(image, size, resize_crop_for(preprocessing_, size));
}

Tensor ImageEncoder::prepare_cells(const Tensor& image, int grid) const {
  return data::grid_cells(image, grid, config().image_size, preprocessing_.resize_crop.filter);
}

Pending<Tensor> ImageEncoder::begin(const Tensor& images, std::int64_t batch, const Shape& row,
                                    const std::function<Variable(const Variable& images)>& compute) const {
  Shape shape{images.dim(0)};
  for (const auto d : row) shape = shape.append(d);
  Tensor out = inference_->room(shape);
  Download down = inference_->begin(images, batch, {out}, [&](const Tensor& pixels) {
    return std::vector{compute(normalize_pixels(pixels, preprocessing_.statistics, dtype_))};
  });
  return {std::move(out), std::move(down), [path = path_](const Tensor& values) {
            require_finite(values, path, "the weights are damaged, get them again");
          }};
}

Pending<Tensor> ImageEncoder::begin_embed(const Tensor& images, std::int64_t batch) const {
  return begin(images, batch, {config().embedding},
               [&](const Variable& x) { return tower_->forward(x).embedding; });
}

Tensor ImageEncoder::attention(const Tensor& images, std::int64_t batch) const {
  return begin(images, batch, {config().tokens()},
               [&](const Variable& x) { return tower_->forward(x, true).attention; })
      .get();
}

Pending<Tensor> ImageEncoder::begin_dense(const Tensor& images, DenseTokens way, int grid,
                                          std::int64_t batch) const {
  require_dense();
  return begin(images, batch, {std::int64_t{grid} * grid, config().embedding},
               [&](const Variable& x) { return on_grid_(tower_->dense(x, way), grid); });
}

void ImageEncoder::require_dense() const {
  VITRAL_CHECK(tower_->has_dense(),
               "{}: {} has no dense tokens (of its patches, in the space of its embeddings); "
               "take a CLIP",
               path_, family_);
}

}  // namespace vitral::models
