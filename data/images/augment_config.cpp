#include "data/images/augment_config.h"

#include "base/field_kinds.h"

namespace vitral::data {

const std::vector<Field<AugmentConfig>>& augment_fields() {
  using namespace fields;
#define FIELD(...) VITRAL_FIELD(AugmentConfig, __VA_ARGS__)
  static const std::vector<Field<AugmentConfig>> table{
      FIELD(resize, Integer{0, 16384}),
      FIELD(brightness, zero_or_more()),
      FIELD(contrast, zero_or_more()),
      FIELD(saturation, zero_or_more()),
      FIELD(grayscale, fraction()),
      FIELD(flip, fraction()),
      FIELD(blur, fraction()),
      FIELD(blur_kernel, Integer{.min = 1, .max = 255, .odd = true}),
      FIELD(blur_sigma_min, above_zero()),
      FIELD(blur_sigma_max, above_zero()),
      FIELD(posterize, fraction()),
      FIELD(posterize_bits, Integer{1, 8}),
      FIELD(autocontrast, fraction()),
      FIELD(random_crop, Truth{}),
      FIELD(scaled_decode, Truth{}),
  };
#undef FIELD
  return table;
}

}  // namespace vitral::data
