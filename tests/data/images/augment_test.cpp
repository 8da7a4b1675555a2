#include "data/images/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include <gtest/gtest.h>
#include <xxhash.h>

#include "data/images/blur.h"
#include "data/images/color.h"
#include "data/images/resize.h"
#include "data/images/transform.h"
#include "models/pixels.h"
#include "tests/golden.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using namespace test;

const std::string golden = "tests/golden/pixels.h5";

// Everything often, on an image of 36 x 28: resize to 30, crop 24.
AugmentConfig busy() {
  AugmentConfig config = AugmentConfig::clip();
  config.resize = 30;
  config.grayscale = config.flip = config.blur = config.posterize = config.autocontrast = 0.5F;
  return config;
}

TEST(Augment, IsTheNamedOperationsInOrder) {
  const Tensor image = read_golden(golden, "image");
  const AugmentConfig config = busy();
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    const AugmentDraw draw(config, seed);
    Tensor x = resize(image, 30, 30, Filter::bilinear);
    for (const auto what : draw.order) {
      if (what == AugmentDraw::brightness) x = adjust_brightness(x, draw.factors[what]);
      if (what == AugmentDraw::contrast) x = adjust_contrast(x, draw.factors[what]);
      if (what == AugmentDraw::saturation) x = adjust_saturation(x, draw.factors[what]);
    }
    if (draw.grayscale) x = grayscale(x);
    if (draw.flip) x = horizontal_flip(x);
    if (draw.blur) x = gaussian_blur(x, 5, draw.sigma);
    if (draw.posterize) x = posterize(x, 3);
    if (draw.autocontrast) x = autocontrast(x);
    x = crop(x, static_cast<int>(draw.crop_x * 7), static_cast<int>(draw.crop_y * 7), 24, 24);
    ASSERT_EQ(max_difference(augment(image, config, 24, seed), x), 0) << seed;
  }
}

TEST(Augment, ASeedReplaysItsView) {
  const Tensor image = read_golden(golden, "image");
  const Tensor before = image.clone();
  const Tensor first = augment(image, busy(), 24, 12345);
  EXPECT_EQ(max_difference(augment(image, busy(), 24, 12345), first), 0);
  EXPECT_NE(max_difference(augment(image, busy(), 24, 12346), first), 0);
  EXPECT_EQ(max_difference(image, before), 0);
}

TEST(Augment, SeedZeroIsTheValidationTransform) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_EQ(max_difference(augment(image, busy(), 20, 0), read_golden(golden, "resize/bilinear/20x20")), 0);
  const Tensor fits = resize(image, 24, 24, Filter::bilinear);
  EXPECT_TRUE(augment(fits, busy(), 24, 0).shares_memory_with(fits));
}

TEST(Augment, NoneFeedsImagesAsTheyAre) {
  const Tensor image = resize(read_golden(golden, "image"), 24, 24, Filter::bilinear);
  for (const std::uint64_t seed : {1, 2, 3})
    EXPECT_EQ(max_difference(augment(image, {}, 24, seed), image), 0);
  EXPECT_EQ(augment(image, {}, 16, 5).shape(), Shape({16, 16, 3}));
}

// The dice of one seed are stored in datasets as a promise: they must never change under one transform_name.
TEST(Augment, TheDiceOfASeedAreFixed) {
  const AugmentDraw draw(AugmentConfig::clip(), 42);
  EXPECT_EQ(draw.order,
            (std::array{AugmentDraw::brightness, AugmentDraw::saturation, AugmentDraw::contrast}));
  EXPECT_FLOAT_EQ(draw.factors[0], 0.989079629F);
  EXPECT_FLOAT_EQ(draw.factors[1], 0.653886315F);
  EXPECT_FLOAT_EQ(draw.factors[2], 1.141532591F);
  EXPECT_FLOAT_EQ(draw.sigma, 0.311628257F);
  EXPECT_DOUBLE_EQ(draw.crop_x, 0.22745012986307678);
  EXPECT_DOUBLE_EQ(draw.crop_y, 0.17539531815547194);
}

TEST(Augment, TheDiceFollowTheRecipe) {
  constexpr int n = 20000;
  const AugmentConfig config = AugmentConfig::clip();
  std::array<int, 5> hits{};
  std::array<int, 27> orders{};
  std::array<double, 6> low, high, mean{};
  low.fill(1e9);
  high.fill(-1e9);
  for (std::uint64_t seed = 1; seed <= n; ++seed) {
    const AugmentDraw draw(config, seed);
    const std::array<bool, 5> events{draw.grayscale, draw.flip, draw.blur, draw.posterize, draw.autocontrast};
    for (std::size_t i = 0; i < 5; ++i) hits[i] += events[i];
    ++orders[draw.order[0] * 9U + draw.order[1] * 3U + draw.order[2]];
    const std::array<double, 6> values{draw.factors[0], draw.factors[1], draw.factors[2],
                                       draw.sigma,      draw.crop_x,     draw.crop_y};
    for (std::size_t i = 0; i < 6; ++i) {
      low[i] = std::min(low[i], values[i]);
      high[i] = std::max(high[i], values[i]);
      mean[i] += values[i] / n;
    }
  }
  const std::array<double, 5> probabilities{0.05, 0.1, 0.05, 0.005, 0.001};
  for (std::size_t i = 0; i < 5; ++i) {
    const double p = probabilities[i];
    EXPECT_NEAR(hits[i], n * p, 4 * std::sqrt(n * p * (1 - p))) << i;
  }
  EXPECT_EQ(std::ranges::count_if(orders, [](int count) { return count > 0; }), 6);
  for (const int count : orders)
    EXPECT_TRUE(count == 0 || std::abs(count - n / 6.0) < 4 * std::sqrt(n * 5 / 36.0)) << count;
  const std::array<double, 6> from{0.6, 0.6, 0.6, 0.1, 0, 0}, to{1.4, 1.4, 1.4, 2, 1, 1};
  for (std::size_t i = 0; i < 6; ++i) {
    const double range = to[i] - from[i];
    EXPECT_GE(low[i], from[i] - 1e-6) << i;
    EXPECT_LE(high[i], to[i] + 1e-6) << i;
    EXPECT_LT(low[i], from[i] + 0.01 * range) << i;
    EXPECT_GT(high[i], to[i] - 0.01 * range) << i;
    EXPECT_NEAR(mean[i], (from[i] + to[i]) / 2, 4 * range / std::sqrt(12.0 * n)) << i;
  }
}

TEST(Augment, EveryPlaceOfTheCropIsMet) {
  Tensor image({6, 8, 3}, DType::uint8);
  for (std::int64_t i = 0; i < image.numel(); ++i)
    image.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i / 3);
  AugmentConfig config;
  config.random_crop = true;
  std::set<int> corners;
  for (std::uint64_t seed = 1; seed <= 400; ++seed)
    corners.insert(augment(image, config, 4, seed).data<std::uint8_t>()[0]);
  EXPECT_EQ(corners, (std::set<int>{0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 16, 17, 18, 19, 20}));
}

TEST(Augment, StrengthsDoNotMoveOtherDice) {
  AugmentConfig other = AugmentConfig::clip();
  other.brightness = 0;
  other.blur = 1;
  const AugmentDraw a(AugmentConfig::clip(), 9), b(other, 9);
  EXPECT_EQ(a.order, b.order);
  EXPECT_EQ(a.factors[1], b.factors[1]);
  EXPECT_EQ(b.factors[0], 1);
  EXPECT_EQ(a.crop_x, b.crop_x);
}

TEST(Augment, NamesTellConfigurationsApart) {
  EXPECT_EQ(transform_name({}), "vitral-augment-1:none");
  EXPECT_EQ(
      transform_name(AugmentConfig::clip()),
      "vitral-augment-1:resize=300,brightness=0.4,contrast=0.4,saturation=0.4,grayscale=0.05,flip=0.1,blur=0."
      "05,"
      "blur_kernel=5,blur_sigma_min=0.1,blur_sigma_max=2,posterize=0.005,posterize_bits=3,autocontrast=0.001,"
      "random_crop");
  AugmentConfig config;
  config.blur_kernel = 7;  // without effect while blur is 0
  EXPECT_EQ(transform_name(config), transform_name({}));
  config.flip = 0.25F;
  EXPECT_EQ(transform_name(config), "vitral-augment-1:flip=0.25");
}

TEST(Augment, ScaledDecodingIsPartOfTheName) {
  AugmentConfig config = AugmentConfig::clip();
  EXPECT_EQ(decode_min_side(config, 224, 1), 0);
  config.scaled_decode = true;
  EXPECT_EQ(decode_min_side(config, 224, 1), 600);
  EXPECT_EQ(decode_min_side(config, 224, 0), 0);  // the validation transform
  EXPECT_TRUE(transform_name(config).starts_with("vitral-augment-1:scaled_decode,resize=300,"));
  config = {};
  config.scaled_decode = true;
  EXPECT_EQ(decode_min_side(config, 224, 1), 448);
  EXPECT_EQ(transform_name(config), "vitral-augment-1:scaled_decode");
  config.random_crop = true;  // from the whole image: nothing to scale
  EXPECT_EQ(decode_min_side(config, 224, 1), 0);
  EXPECT_EQ(transform_name(config), "vitral-augment-1:random_crop");
}

// Datasets store views as seeds and refuse another version. So where this fails because pixels have changed
// on purpose, the number in transform_name() must change, too.
TEST(Augment, VersionOneGivesThesePixels) {
  const Tensor image = read_golden(golden, "image");
  AugmentConfig config = AugmentConfig::clip();
  config.resize = 48;
  config.grayscale = config.flip = config.blur = config.posterize = config.autocontrast = 0.4F;
  std::string pixels;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const Tensor view = augment(image, config, 40, seed);
    pixels.append(static_cast<const char*>(view.raw()), view.bytes());
  }
  EXPECT_EQ(transform_name({}), "vitral-augment-1:none");
  EXPECT_EQ(fmt::format("{:016x}", XXH3_64bits(pixels.data(), pixels.size())), "910dfa60354ed611");
}

TEST(Augment, RefusesWhatCannotBe) {
  const Tensor image = read_golden(golden, "image");
  AugmentConfig config;
  config.random_crop = true;
  EXPECT_EQ(message_of([&] { augment(image, config, 32, 1); }),
            "augment: a crop of 32 x 32 pixels does not fit an image of 36 x 28; set resize to 32 or more");
  config.flip = 1.5F;
  EXPECT_EQ(message_of([&] { augment(image, config, 8, 1); }),
            "augment: flip 1.5 must be a probability, 0 to 1");
  config = {};
  config.blur_kernel = 6;
  EXPECT_EQ(message_of([&] { check_augment(config); }),
            "augment: blur_kernel 6 must be odd, 1 to 255 pixels");
  config = {};
  config.brightness = std::nanf("");
  EXPECT_EQ(message_of([&] { check_augment(config); }), "augment: brightness nan must be 0 or more");
  config = {};
  config.blur_sigma_min = 3;
  EXPECT_EQ(message_of([&] { check_augment(config); }),
            "augment: blur_sigma_max 2 must be blur_sigma_min 3 or more");
  EXPECT_EQ(message_of([&] { augment(image, {}, 0, 1); }), "resize: cannot make an image of 0 x 0 pixels");
}

// What the student reads of images uint8 [B,H,W,3]: float32 [B,3,H,W].
Tensor normalized(const Tensor& images) {
  Tensor result({images.dim(0), 3, images.dim(1), images.dim(2)});
  kernel::normalize_images(result, images, models::clip_statistics);
  return result;
}

TEST(Transform, NormalizeEveryValueAsTorchvision) {
  Tensor images({2, 16, 16, 3}, DType::uint8);
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i / 3 + 100 * (i / 768));
  const Tensor expected = read_golden(golden, "normalised"),
               actual = normalized(images);  // [256,3], [2,3,16,16]
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t c = 0; c < 3; ++c)
      for (std::int64_t i = 0; i < 256; ++i)
        EXPECT_EQ(actual.data<float>()[(b * 3 + c) * 256 + i],
                  expected.data<float>()[(i + 100 * b) % 256 * 3 + c]);
}

TEST(Transform, PhotographsAsTorchvision) {
  VITRAL_NEEDS_SHARED(reference, "golden/preprocess.h5");
  for (const std::string& name : golden_names(reference, "/")) {
    const Tensor image = read_golden(reference, name + "/rgb");
    const auto check = [&](const Tensor& view, const std::string& expected_name) {
      const Tensor actual = normalized(view.reshape({1, 224, 224, 3}));
      const Tensor expected = read_golden(reference, name + "/" + expected_name);
      EXPECT_EQ(std::memcmp(actual.raw(), expected.raw(), expected.bytes()), 0)
          << name << " " << expected_name;
    };
    check(validation_transform(image, 224), "val_tensor");
    check(resize_crop(image, 224, {}), "clip_tensor");
  }
}

}  // namespace
}  // namespace vitral::data
