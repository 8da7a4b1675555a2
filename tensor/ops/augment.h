// Augmentation of training images whose dice have fallen: each image of a batch has a record of what is done
// to it. All devices give the same bytes.
#pragma once
#include <array>
#include <cstdint>

#include "tensor/kernel.h"

namespace vitral {

/// What is done to one image, in the order of the members; the defaults do nothing. In memory weights of the
/// blur follow, as many for each image of a batch as one may need: the rows of a tensor (augmentation_bytes).
struct Augmentation {
  /// What the enhancements blend with: y = clip(base + factor (x - base)), in float32, rounded towards zero.
  enum Base : std::uint8_t {
    none,   // no blend
    black,  // brightness
    mean,   // contrast: the mean L of the whole image as it is then, rounded; at most once
    luma    // saturation: the pixel's own L; grey where factor is 0
  };
  std::array<float, 4> factors{};  // >= 0
  std::array<Base, 4> bases{};
  std::uint8_t mirrored = 0;  // 1: left to right
  /// 1: y = round(sum_ij w_i w_j x), the image mirrored at its borders without repeating the outermost pixel,
  /// in float32, along x first, each sum from the first weight to the last. Half as many pixels as there are
  /// weights must be less than the image is high and wide.
  std::uint8_t blurred = 0;
  std::uint8_t mask = 0xFF;        // the bits of each value that are kept: posterisation
  std::uint8_t autocontrast = 0;   // 1: each channel is stretched so that the image has 0 and 255
  std::int32_t top = 0, left = 0;  // of the part that is kept, in the image as it is then

  bool operator==(const Augmentation&) const = default;
};
static_assert(sizeof(Augmentation) == 32);

/// Of a record with so many weights of a blur (0: none of the images is blurred).
constexpr std::int64_t augmentation_bytes(std::int64_t weights) {
  return static_cast<std::int64_t>(sizeof(Augmentation)) + weights * static_cast<std::int64_t>(sizeof(float));
}
/// Weights in each record of records [B,R].
inline std::int64_t augmentation_weights(const Tensor& records) {
  return (records.dim(1) - augmentation_bytes(0)) / static_cast<std::int64_t>(sizeof(float));
}

namespace kernel {

/// to[b] = the part of images[b] at (top, left), after all that records[b] says of the whole image.
/// images uint8 [B,H,W,3], to uint8 [B,h,w,3] with h <= H, w <= W, records uint8 [B,R], R =
/// augmentation_bytes(an odd number, or 0). UsageError: sizes that do not fit, and on the CPU a record that
/// leaves the image or blurs a smaller one; on a GPU the caller checks.
inline constinit Kernel<void(Tensor& to, const Tensor& images, const Tensor& records)> augment{"augment"};

}  // namespace kernel

/// The shapes of `augment`; for its kernels.
void check_augment_shapes(const Tensor& to, const Tensor& images, const Tensor& records);

}  // namespace vitral
