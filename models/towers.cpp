#include "models/towers.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/constant.h"

namespace vitral::models {
namespace {

void check_block(const nn::BlockConfig& c, int layers, int embedding, std::string_view tower) {
  VITRAL_CHECK(c.width > 0 && c.heads > 0 && layers > 0 && embedding > 0,
               "{} tower: width {}, heads {}, layers {} and embedding {} must be positive", tower, c.width,
               c.heads, layers, embedding);
  VITRAL_CHECK(c.width % c.heads == 0, "{} tower: heads {} must divide width {}", tower, c.heads, c.width);
}

// The matrix [to^2,from^2] of on_grid().
Tensor bilinear_weights(int from, int to) {
  struct Place {
    int low = 0, high = 0;
    double share = 0;  // of `high`
  };
  const auto place = [&](int i) {
    const double at = std::clamp((i + 0.5) * from / to - 0.5, 0.0, from - 1.0);
    const int low = static_cast<int>(at);
    return Place{low, std::min(low + 1, from - 1), at - low};
  };
  Tensor m = Tensor::zeros({std::int64_t{to} * to, std::int64_t{from} * from});
  float* row = m.data<float>();
  for (int i = 0; i < to; ++i)
    for (int j = 0; j < to; ++j, row += m.dim(1)) {
      const Place y = place(i), x = place(j);
      row[y.low * from + x.low] += static_cast<float>((1 - y.share) * (1 - x.share));
      row[y.low * from + x.high] += static_cast<float>((1 - y.share) * x.share);
      row[y.high * from + x.low] += static_cast<float>(y.share * (1 - x.share));
      row[y.high * from + x.high] += static_cast<float>(y.share * x.share);
    }
  return m;
}

}  // namespace

Variable OnGrid::operator()(const Variable& tokens, int grid) const {
  const auto own = static_cast<int>(std::lround(std::sqrt(static_cast<double>(tokens.dim(1)))));
  VITRAL_CHECK(tokens.rank() == 3 && std::int64_t{own} * own == tokens.dim(1) && grid >= 1,
               "on_grid: tokens {} must be [B, g g, E], the grid {} at least 1", tokens.shape(), grid);
  if (grid == own) return tokens;
  return mix_tokens(tokens,
                    constant(weights_[{own, grid}], tokens, [&] { return bilinear_weights(own, grid); }));
}

Variable in_dtype(const nn::Parameter& parameter, DType dtype) {
  if (parameter.dtype() == dtype || grad_enabled()) return cast(parameter, dtype);
  const Weight& weight = parameter;
  return Variable(weight.as(dtype));
}

Weight rows_of(const nn::Parameter& parameter, std::int64_t begin, std::int64_t end) {
  const Weight& weight = parameter;
  return {slice(weight.variable, 0, begin, end),
          weight.copy.defined() ? weight.copy.rows(begin, end) : Tensor()};
}

ImageTower::ImageTower(const ImageTowerConfig& c, std::string_view tower) : config_(c) {
  VITRAL_CHECK(c.image_size > 0 && c.patch_size > 0 && c.image_size % c.patch_size == 0,
               "{} tower: patch_size {} must divide image_size {}", tower, c.patch_size, c.image_size);
  check_block(c.block, c.layers, c.embedding, tower);
}

Variable ImageTower::dense(const Variable& /*images*/, DenseTokens /*way*/) const {
  throw_error<UsageError>("this tower has no dense tokens; take a CLIP");
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
