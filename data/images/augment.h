// The random transform of a training image, as a pure function of a seed: a stored seed replays a view
// exactly.
//
//   Tensor view = augment(image, AugmentConfig::clip(), 224, seed);
//
// The operations and their order are torchvision's: resize, colour jitter (brightness, contrast and
// saturation in random order), greyscale, flip, blur, posterise, autocontrast, random crop. What is drawn
// depends on the seed alone: a probability changed in the configuration does not move the dice of the other
// operations.
//
// All that is random is arithmetic on images of one size, tensor/ops/augment.h. Who wants it done elsewhere
// takes resize_first() and write_augmentation(), and gives both to kernel::augment on any device.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "data/images/augment_config.h"
#include "tensor/ops/augment.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// uint8 [H,W,3] to [size,size,3]. Seed 0 is the validation transform by contract. UsageError when the
/// configuration is out of range or the image is smaller than the crop or the blur. May share memory with
/// `image`.
Tensor augment(const Tensor& image, const AugmentConfig& config, int size, std::uint64_t seed);

/// What decode_image() takes as `min_side` for an image that augment(image, config, size, seed) gets: 0 where
/// the whole image is needed, as for seed 0.
std::int64_t decode_min_side(const AugmentConfig& config, int size, std::uint64_t seed);

/// The first operation: uint8 [H,W,3] to [resize,resize,3], or where that is 0 the image itself.
Tensor resize_first(const Tensor& image, const AugmentConfig& config);
/// Whether anything comes after it, but for the last one, which brings an image that is not cropped to the
/// model's size.
bool draws_anything(const AugmentConfig& config);
/// Bytes of a record that a seed other than 0 makes.
std::int64_t augmentation_bytes(const AugmentConfig& config);
/// What augment(image, config, size, seed) does to an image of height x width pixels between these two; with
/// random_crop it is the end. `record`: as many bytes, aligned as numbers are. UsageErrors: as above. Seed 0:
/// nothing, the upper left corner is the result.
void write_augmentation(std::uint8_t* record, const AugmentConfig& config, std::int64_t height,
                        std::int64_t width, int size, std::uint64_t seed);

/// uint8 [H,W,3], another image of the same size; weights: of its blur.
Tensor apply(const Tensor& image, const Augmentation& augmentation, std::span<const float> weights = {});

/// What a seed decides: the dice of augment(), in the order in which they fall. They are draws of the stream
/// with the key random_key(seed) (base/random.h).
struct AugmentDraw {
  enum Jitter : std::uint8_t { brightness, contrast, saturation };
  std::array<Jitter, 3> order;   // of the colour jitter
  std::array<float, 3> factors;  // by Jitter; uniform in [max(0, 1 - strength), 1 + strength]
  bool grayscale, flip, blur;
  float sigma;  // of the blur
  bool posterize, autocontrast;
  double crop_x, crop_y;  // uniform in [0, 1): the position among all that a crop can have

  AugmentDraw(const AugmentConfig& config, std::uint64_t seed);
};

}  // namespace vitral::data
