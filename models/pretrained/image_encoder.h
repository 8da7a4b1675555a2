// A pretrained image tower, ready for images: the teacher.
//
//   const ImageEncoder teacher = ImageEncoder::load("clip-vit-base-patch32");
//   Tensor y = teacher.embed(images);                                 // uint8 [B,S,S,3] -> float32 [B,E]
//
// Weights: whatever docs/formats.md lists (models/pretrained/checkpoint.h reads them), of any family in
// models/pretrained/families.cpp.
#pragma once
#include <memory>
#include <string>

#include "models/inference.h"
#include "models/pretrained/preprocessing.h"
#include "models/pretrained/tower_choices.h"
#include "models/towers.h"

namespace vitral::models {

class ImageEncoder {
 public:
  /// UsageError or Error, one line, where that does not give an image tower. dtype: what it computes in,
  /// float32 or bfloat16 (models/precision.h).
  static ImageEncoder load(const std::string& path, Device device = cpu, const TowerChoices& choices = {},
                           DType dtype = DType::float32);

  const ImageTowerConfig& config() const { return tower_->config(); }
  Device device() const { return inference_->device(); }
  /// "CLIP", "SigLIP", "DINOv2".
  std::string_view family() const { return family_; }
  /// How it wants its images: as the files beside the weights say it, else as the family does.
  const Preprocessing& preprocessing() const { return preprocessing_; }
  /// uint8 [H,W,3] -> [S,S,3]; `transform` clip: its own preprocessing. UsageError: what its files want is
  /// not to be had.
  Tensor prepare(const Tensor& image, data::PlainTransform transform) const;
  /// The cells of a picture as pictures of their own (data/images/regions.h), stretched with the filter of
  /// its own preprocessing: uint8 [H,W,3] -> [grid*grid,S,S,3].
  Tensor prepare_cells(const Tensor& image, int grid) const;
  /// Whether prepare() keeps the shape of what an image shows and cuts its margins off, and does not stretch
  /// it.
  bool crops(data::PlainTransform transform) const {
    return transform == data::PlainTransform::clip &&
           preprocessing_.resize_crop.mode == data::ResizeCrop::Mode::shorter_edge;
  }
  /// What was used, for the files that its embeddings go into: "CLIP, 12 heads, quick_gelu, mean 0.481 ...,
  /// std ...", behind it ", bf16" where that was so. Distinguishes any two uses of the same weights.
  std::string description() const;
  /// What neither the files nor the caller said (models/pretrained/tower_choices.h); "": nothing.
  const std::string& guessed() const { return guessed_; }

  /// images uint8 [B,S,S,3] on the CPU, S = config().image_size; the embeddings float32 [B,E], not of unit
  /// length, are there, too (in pinned memory where the tower is on a GPU). Computes in pieces of at most
  /// `batch` images. Error, naming the weights, here and below: a value is not finite.
  Tensor embed(const Tensor& images, std::int64_t batch = 64) const {
    return begin_embed(images, batch).get();
  }
  /// Begins it; a GPU works while the host goes on. Pinned images must not change meanwhile.
  Pending<Tensor> begin_embed(const Tensor& images, std::int64_t batch = 64) const;
  /// What the embedding is made of (ImageTower::Output): float32 [B,N], row-major over the grid. Where a
  /// class token attends its weight on itself is left out; rows sum to less than 1.
  Tensor attention(const Tensor& images, std::int64_t batch = 64) const;
  /// Its dense tokens (DenseTokens and OnGrid of models/towers.h): float32 [B,grid*grid,E], row-major, not
  /// of unit length. UsageError: require_dense().
  Tensor dense(const Tensor& images, DenseTokens way, int grid, std::int64_t batch = 64) const {
    return begin_dense(images, way, grid, batch).get();
  }
  Pending<Tensor> begin_dense(const Tensor& images, DenseTokens way, int grid, std::int64_t batch = 64) const;
  bool has_dense() const { return tower_->has_dense(); }
  /// UsageError naming the weights where the family has none.
  void require_dense() const;

 private:
  explicit ImageEncoder(Device device) : inference_(std::make_unique<Inference>(device)) {}

  Pending<Tensor> begin(const Tensor& images, std::int64_t batch, const Shape& row,
                        const std::function<Variable(const Variable& images)>& compute) const;

  std::string path_;  // of the weights
  std::unique_ptr<ImageTower> tower_;
  std::string_view family_;
  Preprocessing preprocessing_;
  std::string guessed_;
  DType dtype_ = DType::float32;
  OnGrid on_grid_;
  std::unique_ptr<Inference> inference_;
};

}  // namespace vitral::models
