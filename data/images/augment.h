// The random transform of a training image, as a pure function of a seed: a stored seed replays a view
// exactly.
//
//   Tensor view = augment(image, AugmentConfig::clip(), 224, seed);
//
// The operations and their order are torchvision's: resize, colour jitter (brightness, contrast and
// saturation in random order), greyscale, flip, blur, posterise, autocontrast, random crop. What is drawn
// depends on the seed alone: a probability changed in the configuration does not move the dice of the other
// operations.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "data/images/augment_config.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// uint8 [H,W,3] to [size,size,3]. Seed 0 is the validation transform by contract. UsageError when the
/// configuration is out of range or the image is smaller than the crop or the blur. May share memory with
/// `image`.
Tensor augment(const Tensor& image, const AugmentConfig& config, int size, std::uint64_t seed);

/// What decode_image() takes as `min_side` for an image that augment(image, config, size, seed) gets: 0 where
/// the whole image is needed, as for seed 0.
std::int64_t decode_min_side(const AugmentConfig& config, int size, std::uint64_t seed);

/// Where a random crop lies in an image, and whether it is then mirrored left to right.
struct CropPosition {
  std::int64_t top = 0, left = 0;
  bool mirrored = false;
};
/// Whether a configuration does nothing but crop at random and perhaps flip.
bool only_crops(const AugmentConfig& config);
/// For such a configuration and a seed other than 0: the position from which augment(image, config, size,
/// seed) takes its result, in an image of height x width pixels, which are at least `size` each.
CropPosition crop_position(const AugmentConfig& config, std::int64_t height, std::int64_t width, int size,
                           std::uint64_t seed);

/// Mirrored left to right.
Tensor horizontal_flip(const Tensor& image);

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
