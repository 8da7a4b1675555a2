#include "models/towers.h"

#include "base/error.h"

namespace vitral::models {
namespace {

void check_block(const nn::BlockConfig& c, int layers, int embedding, std::string_view tower) {
  VITRAL_CHECK(c.width > 0 && c.heads > 0 && layers > 0 && embedding > 0,
               "{} tower: width {}, heads {}, layers {} and embedding {} must be positive", tower, c.width,
               c.heads, layers, embedding);
  VITRAL_CHECK(c.width % c.heads == 0, "{} tower: heads {} must divide width {}", tower, c.heads, c.width);
}

}  // namespace

ImageTower::ImageTower(const ImageTowerConfig& c, std::string_view tower) : config_(c) {
  VITRAL_CHECK(c.image_size > 0 && c.patch_size > 0 && c.image_size % c.patch_size == 0,
               "{} tower: patch_size {} must divide image_size {}", tower, c.patch_size, c.image_size);
  check_block(c.block, c.layers, c.embedding, tower);
}

void ImageTower::check_images(const Variable& images, std::string_view tower) const {
  VITRAL_CHECK(images.rank() == 4 && images.dim(1) == 3 && images.dim(2) == config_.image_size &&
                   images.dim(3) == config_.image_size,
               "{} tower: images {} must be [B, 3, {}, {}]", tower, images.shape(), config_.image_size,
               config_.image_size);
}

TextTower::TextTower(const TextTowerConfig& c, std::string_view tower) : config_(c) {
  VITRAL_CHECK(c.context > 0 && c.vocabulary > 0, "{} tower: context {} and vocabulary {} must be positive",
               tower, c.context, c.vocabulary);
  check_block(c.block, c.layers, c.embedding, tower);
}

}  // namespace vitral::models
