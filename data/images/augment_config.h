// What an augmentation does, as numbers; data/images/augment.h carries it out, the configuration file fills
// it in.
#pragma once
#include <string>
#include <vector>

#include "base/fields.h"

namespace vitral::data {

/// One random transform of a training image, in the order of the fields. An operation with probability 0,
/// strength 0 or size 0 is left out. Defaults: nothing at all (`augment: none`).
struct AugmentConfig {
  int resize = 0;        // stretch to resize x resize pixels first (bilinear with antialias, as Pillow)
  float brightness = 0;  // colour jitter: factor uniform in [max(0, 1 - b), 1 + b]; the three in random order
  float contrast = 0;
  float saturation = 0;
  float grayscale = 0;  // probability
  float flip = 0;       // probability of a horizontal flip
  float blur = 0;       // probability of a Gaussian blur
  int blur_kernel = 5;  // pixels, odd
  float blur_sigma_min = 0.1F;
  float blur_sigma_max = 2.0F;
  float posterize = 0;  // probability
  int posterize_bits = 3;
  float autocontrast = 0;    // probability
  bool random_crop = false;  // crop the model's size at a random position; false: stretch to the model's size
  /// Before all that: JPEG files are decoded at a fraction of their size where that is at least twice the
  /// size that they are stretched to (decode_image()). Faster for large photographs, but not the pixels that
  /// Pillow gives.
  bool scaled_decode = false;

  bool operator==(const AugmentConfig&) const = default;
  bool none() const { return *this == AugmentConfig{}; }

  /// The original project's recipe.
  static AugmentConfig clip() {
    AugmentConfig c;
    c.resize = 300;
    c.brightness = c.contrast = c.saturation = 0.4F;
    c.grayscale = 0.05F;
    c.flip = 0.1F;
    c.blur = 0.05F;
    c.posterize = 0.005F;
    c.autocontrast = 0.001F;
    c.random_crop = true;
    return c;
  }
};

/// The fields, in their order, as keys of a configuration file.
const std::vector<Field<AugmentConfig>>& augment_fields();

/// UsageError naming the field that is out of range.
void check_augment(const AugmentConfig& config);

/// Name and version of the augmentation, e.g. "vitral-augment-1:resize=300,...,random_crop", stored with
/// datasets to refuse others: equal names replay equal views from equal images, sizes and seeds. Fields
/// without effect are left out.
std::string transform_name(const AugmentConfig& config);

}  // namespace vitral::data
