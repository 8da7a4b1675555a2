#include "data/images/augment.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "base/exact_float.h"
#include "base/random.h"
#include "data/images/blur.h"
#include "data/images/color.h"
#include "data/images/image.h"
#include "data/images/resize.h"
#include "data/images/transform.h"

namespace vitral::data {
namespace {

// The first of the n places of a crop whose share of [0, 1) reaches up to u.
int place(double u, std::int64_t n) {
  return static_cast<int>(std::min(static_cast<std::int64_t>(u * static_cast<double>(n)), n - 1));
}

// Not Random::uniform(low, high): compiled here, it rounds alike on every machine, as replayed views need.
float draw_between(Random& random, double low, double high) {
  return static_cast<float>(low + (high - low) * random.uniform());
}

float draw_factor(Random& random, float strength) {
  return draw_between(random, std::max(0.0, 1.0 - strength), 1.0 + strength);
}

Augmentation augmentation_of(const AugmentConfig& config, const AugmentDraw& draw, std::int64_t height,
                             std::int64_t width, int size) {
  Augmentation a;
  std::size_t blends = 0;
  const auto blend = [&](Augmentation::Base base, float factor) {
    a.bases[blends] = base;
    a.factors[blends++] = factor;
  };
  const std::array<float, 3> strengths{config.brightness, config.contrast, config.saturation};
  constexpr std::array bases{Augmentation::black, Augmentation::mean, Augmentation::luma};
  for (const AugmentDraw::Jitter what : draw.order)
    if (strengths[what] > 0) blend(bases[what], draw.factors[what]);
  if (draw.grayscale) blend(Augmentation::luma, 0);
  a.mirrored = draw.flip ? 1 : 0;
  a.blurred = draw.blur ? 1 : 0;
  if (draw.posterize) a.mask = posterize_mask(config.posterize_bits);
  a.autocontrast = draw.autocontrast ? 1 : 0;
  if (config.random_crop) {
    VITRAL_CHECK(
        size <= height && size <= width,
        "augment: a crop of {} x {} pixels does not fit an image of {} x {}; set resize to {} or more", size,
        size, width, height, size);
    a.left = place(draw.crop_x, width - size + 1);
    a.top = place(draw.crop_y, height - size + 1);
  }
  return a;
}

Tensor as_batch(const Tensor& image) { return image.reshape({1, image.dim(0), image.dim(1), 3}); }

Tensor apply(const Tensor& image, const Tensor& record, std::int64_t height, std::int64_t width) {
  Tensor result({height, width, 3}, DType::uint8), batch = as_batch(result);
  kernel::augment(batch, as_batch(image), record);
  return result;
}

}  // namespace

AugmentDraw::AugmentDraw(const AugmentConfig& config, std::uint64_t seed) {
  Random random(seed);
  order = {brightness, contrast, saturation};
  std::swap(order[2], order[random.below(3)]);
  std::swap(order[1], order[random.below(2)]);
  factors[brightness] = draw_factor(random, config.brightness);
  factors[contrast] = draw_factor(random, config.contrast);
  factors[saturation] = draw_factor(random, config.saturation);
  grayscale = random.uniform() < config.grayscale;
  flip = random.uniform() < config.flip;
  blur = random.uniform() < config.blur;
  sigma = draw_between(random, config.blur_sigma_min, config.blur_sigma_max);
  posterize = random.uniform() < config.posterize;
  autocontrast = random.uniform() < config.autocontrast;
  crop_y = random.uniform();
  crop_x = random.uniform();
}

Tensor resize_first(const Tensor& image, const AugmentConfig& config) {
  return config.resize > 0 ? resize(image, config.resize, config.resize, Filter::bilinear) : image;
}

bool draws_anything(const AugmentConfig& config) {
  AugmentConfig rest = config;
  rest.resize = 0;
  rest.scaled_decode = false;
  return transform_name(rest) != transform_name({});  // which leaves out what has no effect
}

std::int64_t augmentation_bytes(const AugmentConfig& config) {
  return vitral::augmentation_bytes(config.blur > 0 ? config.blur_kernel : 0);
}

void write_augmentation(std::uint8_t* record, const AugmentConfig& config, std::int64_t height,
                        std::int64_t width, int size, std::uint64_t seed) {
  Augmentation a;
  std::vector<float> weights;
  if (seed != 0) {
    const AugmentDraw draw(config, seed);
    a = augmentation_of(config, draw, height, width, size);
    if (draw.blur) {
      check_blur(config.blur_kernel, draw.sigma, height, width);
      weights = blur_weights(config.blur_kernel, draw.sigma);
    }
  }
  std::memset(record, 0, static_cast<std::size_t>(augmentation_bytes(config)));
  std::memcpy(record, &a, sizeof a);
  std::ranges::copy(weights, reinterpret_cast<float*>(record + sizeof a));
}

Tensor augment(const Tensor& image, const AugmentConfig& config, int size, std::uint64_t seed) {
  check_image("augment", image);
  check_augment(config);
  if (seed == 0) return validation_transform(image, size);
  Tensor x = resize_first(image, config);
  if (draws_anything(config)) {
    Tensor record({1, augmentation_bytes(config)}, DType::uint8);
    write_augmentation(record.data<std::uint8_t>(), config, x.dim(0), x.dim(1), size, seed);
    x = config.random_crop ? apply(x, record, size, size) : apply(x, record, x.dim(0), x.dim(1));
  }
  return config.random_crop ? x : validation_transform(x, size);
}

Tensor apply(const Tensor& image, const Augmentation& augmentation, std::span<const float> weights) {
  Tensor record({1, vitral::augmentation_bytes(static_cast<std::int64_t>(weights.size()))}, DType::uint8);
  std::memcpy(record.raw(), &augmentation, sizeof augmentation);
  std::ranges::copy(std::as_bytes(weights), static_cast<std::byte*>(record.raw()) + sizeof augmentation);
  return apply(image, record, image.dim(0), image.dim(1));
}

std::int64_t decode_min_side(const AugmentConfig& config, int size, std::uint64_t seed) {
  if (!config.scaled_decode || seed == 0) return 0;
  if (config.resize > 0) return min_side_for(config.resize);
  return config.random_crop ? 0 : min_side_for(size);  // a crop is cut from all pixels that there are
}

}  // namespace vitral::data
