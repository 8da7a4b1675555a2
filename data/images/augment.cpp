#include "data/images/augment.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
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

Tensor adjust(const Tensor& image, AugmentDraw::Jitter what, float factor) {
  switch (what) {
    case AugmentDraw::brightness:
      return adjust_brightness(image, factor);
    case AugmentDraw::contrast:
      return adjust_contrast(image, factor);
    default:
      return adjust_saturation(image, factor);
  }
}

struct Operation {
  enum Kind : std::uint8_t {
    pixelwise,  // a pixel's new value depends on its old one alone
    mirror,
    others,  // it depends on pixels that a crop may have cut off
  };
  Kind kind;
  std::function<Tensor(const Tensor&)> apply;
};

std::vector<Operation> drawn_operations(const AugmentConfig& config, const AugmentDraw& draw) {
  std::vector<Operation> out;
  const std::array<float, 3> strengths{config.brightness, config.contrast, config.saturation};
  for (const AugmentDraw::Jitter what : draw.order)
    if (strengths[what] > 0)
      out.push_back({what == AugmentDraw::contrast ? Operation::others : Operation::pixelwise,
                     [what, &draw](const Tensor& x) { return adjust(x, what, draw.factors[what]); }});
  if (draw.grayscale) out.push_back({Operation::pixelwise, grayscale});
  if (draw.flip) out.push_back({Operation::mirror, horizontal_flip});
  if (draw.blur)
    out.push_back({Operation::others,
                   [&](const Tensor& x) { return gaussian_blur(x, config.blur_kernel, draw.sigma); }});
  if (draw.posterize)
    out.push_back(
        {Operation::pixelwise, [&](const Tensor& x) { return posterize(x, config.posterize_bits); }});
  if (draw.autocontrast) out.push_back({Operation::others, autocontrast});
  return out;
}

// What random_crop takes from an image; from one that is still to be mirrored, what becomes the same.
Tensor random_crop(const Tensor& x, const AugmentDraw& draw, int size, bool mirrored_later) {
  const int left = place(draw.crop_x, x.dim(1) - size + 1), top = place(draw.crop_y, x.dim(0) - size + 1);
  return crop(x, mirrored_later ? static_cast<int>(x.dim(1)) - size - left : left, top, size, size);
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

Tensor augment(const Tensor& image, const AugmentConfig& config, int size, std::uint64_t seed) {
  check_image("augment", image);
  check_augment(config);
  if (seed == 0) return validation_transform(image, size);
  const AugmentDraw draw(config, seed);

  Tensor x = image;
  if (config.resize > 0) x = resize(x, config.resize, config.resize, Filter::bilinear);
  if (config.random_crop)
    VITRAL_CHECK(
        size <= x.dim(0) && size <= x.dim(1),
        "augment: a crop of {} x {} pixels does not fit an image of {} x {}; set resize to {} or more", size,
        size, x.dim(1), x.dim(0), size);

  const std::vector<Operation> operations = drawn_operations(config, draw);
  if (!config.random_crop) {
    for (const Operation& operation : operations) x = operation.apply(x);
    return validation_transform(x, size);
  }
  // The crop comes last. What changes each pixel by itself is done after it: to the same pixels, fewer of
  // them.
  auto first_after = operations.end();
  bool mirrored_later = false;
  while (first_after != operations.begin() && std::prev(first_after)->kind != Operation::others)
    mirrored_later = (--first_after)->kind == Operation::mirror || mirrored_later;
  for (auto operation = operations.begin(); operation != first_after; ++operation) x = operation->apply(x);
  x = random_crop(x, draw, size, mirrored_later);
  for (auto operation = first_after; operation != operations.end(); ++operation) x = operation->apply(x);
  return x;
}

std::int64_t decode_min_side(const AugmentConfig& config, int size, std::uint64_t seed) {
  if (!config.scaled_decode || seed == 0) return 0;
  if (config.resize > 0) return min_side_for(config.resize);
  return config.random_crop ? 0 : min_side_for(size);  // a crop is cut from all pixels that there are
}

bool only_crops(const AugmentConfig& config) {
  AugmentConfig crops;
  crops.flip = config.flip;
  crops.random_crop = true;
  return transform_name(config) == transform_name(crops);  // which leaves out what has no effect
}

CropPosition crop_position(const AugmentConfig& config, std::int64_t height, std::int64_t width, int size,
                           std::uint64_t seed) {
  const AugmentDraw draw(config, seed);
  const std::int64_t x = place(draw.crop_x, width - size + 1);
  // augment() mirrors the image before it cuts.
  return {.top = place(draw.crop_y, height - size + 1),
          .left = draw.flip ? width - size - x : x,
          .mirrored = draw.flip};
}

Tensor horizontal_flip(const Tensor& image) {
  check_image("horizontal_flip", image);
  Tensor result(image.shape(), DType::uint8);
  const std::int64_t width = image.dim(1);
  for (std::int64_t y = 0; y < image.dim(0); ++y) {
    const std::uint8_t* from = image.data<std::uint8_t>() + y * width * 3;
    std::uint8_t* to = result.data<std::uint8_t>() + (y + 1) * width * 3;
    for (std::int64_t x = 0; x < width; ++x) {
      to -= 3;
      for (int c = 0; c < 3; ++c) to[c] = from[3 * x + c];
    }
  }
  return result;
}

}  // namespace vitral::data
