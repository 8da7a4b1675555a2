// augment, on the CPU and on a GPU: against formulas written down once more, and against the loader's views.
#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>

#include "base/exact_float.h"
#include "data/images/augment.h"
#include "data/images/blur.h"
#include "tensor/ops/augment.h"
#include "tests/noise.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

using data::AugmentConfig;
using Bytes = std::vector<std::uint8_t>;

struct Recipe {
  std::vector<std::pair<Augmentation::Base, float>> blends = {};
  bool mirrored = false;
  float sigma = 0;  // of a blur, or none
  std::uint8_t mask = 0xFF;
  bool autocontrast = false;
};

// --- all operations of the whole image one after the other, pixel by pixel ---

struct Picture {
  std::int64_t height, width;
  Bytes bytes;

  std::uint8_t& at(std::int64_t y, std::int64_t x, std::int64_t c) {
    return bytes[static_cast<std::size_t>((y * width + x) * 3 + c)];
  }
  template <class F>
  void for_each(F&& f) const {
    for (std::int64_t y = 0; y < height; ++y)
      for (std::int64_t x = 0; x < width; ++x) f(y, x);
  }
};

int brightness_of(Picture& p, std::int64_t y, std::int64_t x) {
  return (p.at(y, x, 0) * 19595 + p.at(y, x, 1) * 38470 + p.at(y, x, 2) * 7471 + 32768) / 65536;
}

void blend(Picture& p, Augmentation::Base base, float factor) {
  double sum = 0;
  p.for_each([&](auto y, auto x) { sum += brightness_of(p, y, x); });
  const double mean = sum / static_cast<double>(p.height * p.width);
  p.for_each([&](auto y, auto x) {
    const int own = brightness_of(p, y, x);
    const int with = base == Augmentation::black  ? 0
                     : base == Augmentation::mean ? static_cast<int>(std::floor(mean + 0.5))
                                                  : own;
    for (int c = 0; c < 3; ++c) {
      const float scaled = factor * static_cast<float>(p.at(y, x, c) - with);
      p.at(y, x, c) = static_cast<std::uint8_t>(std::clamp(static_cast<float>(with) + scaled, 0.F, 255.F));
    }
  });
}

std::int64_t within(std::int64_t i, std::int64_t length) {
  return i < 0 ? -i : i >= length ? 2 * length - 2 - i : i;
}

void blur(Picture& p, const std::vector<float>& weights) {
  const auto count = static_cast<std::int64_t>(weights.size());
  std::vector<float> rows(p.bytes.size());
  p.for_each([&](auto y, auto x) {
    for (int c = 0; c < 3; ++c) {
      float sum = 0;
      for (std::int64_t k = 0; k < count; ++k) {
        const float part =
            weights[static_cast<std::size_t>(k)] * p.at(y, within(x + k - count / 2, p.width), c);
        sum += part;
      }
      rows[static_cast<std::size_t>((y * p.width + x) * 3 + c)] = sum;
    }
  });
  p.for_each([&](auto y, auto x) {
    for (int c = 0; c < 3; ++c) {
      float sum = 0;
      for (std::int64_t k = 0; k < count; ++k) {
        const std::int64_t row = within(y + k - count / 2, p.height);
        const float part = weights[static_cast<std::size_t>(k)] *
                           rows[static_cast<std::size_t>((row * p.width + x) * 3 + c)];
        sum += part;
      }
      p.at(y, x, c) = static_cast<std::uint8_t>(std::nearbyint(std::clamp(sum, 0.F, 255.F)));
    }
  });
}

void stretch(Picture& p) {
  for (int c = 0; c < 3; ++c) {
    int low = 255, high = 0;
    p.for_each([&](auto y, auto x) {
      low = std::min<int>(low, p.at(y, x, c));
      high = std::max<int>(high, p.at(y, x, c));
    });
    if (low == high) continue;
    const double scale = 255.0 / (high - low), offset = -low * scale;
    p.for_each([&](auto y, auto x) {
      const double scaled = p.at(y, x, c) * scale;
      p.at(y, x, c) = static_cast<std::uint8_t>(std::clamp(static_cast<int>(scaled + offset), 0, 255));
    });
  }
}

Bytes reference(const Tensor& image, const Recipe& r, const std::vector<float>& weights, std::int64_t top,
                std::int64_t left, std::int64_t height, std::int64_t width) {
  Picture p{image.dim(0), image.dim(1), {}};
  p.bytes.assign(image.data<std::uint8_t>(), image.data<std::uint8_t>() + image.numel());
  for (const auto& [base, factor] : r.blends) blend(p, base, factor);
  if (r.mirrored) {
    Picture before = p;
    p.for_each([&](auto y, auto x) {
      for (int c = 0; c < 3; ++c) p.at(y, x, c) = before.at(y, p.width - 1 - x, c);
    });
  }
  if (r.sigma > 0) blur(p, weights);
  for (std::uint8_t& byte : p.bytes) byte &= r.mask;
  if (r.autocontrast) stretch(p);
  Bytes out;
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) out.push_back(p.at(top + y, left + x, c));
  return out;
}

// --- the kernel against it ---

constexpr auto black = Augmentation::black, mean = Augmentation::mean, luma = Augmentation::luma;

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all{
      {},
      {.blends = {{black, 1.3F}}},
      {.blends = {{mean, 0.63F}}},
      {.blends = {{luma, 1.37F}}},
      {.blends = {{luma, 0}}},
      {.mirrored = true},
      {.sigma = 1.1F},
      {.mask = 0xE0},
      {.autocontrast = true},
      {.blends = {{mean, 1.4F}, {black, 0.7F}, {luma, 0.6F}}},
      {.blends = {{black, 1.2F}, {mean, 1.5F}}, .mirrored = true},
      {.blends = {{luma, 1.4F}, {black, 1.1F}, {mean, 2}, {luma, 0}}, .mirrored = true, .sigma = 2},
      {.blends = {{black, 0.8F}}, .mask = 0xF0, .autocontrast = true},
      {.blends = {{black, 0.5F}, {mean, 0.9F}, {luma, 1.1F}},
       .mirrored = true,
       .sigma = 0.8F,
       .mask = 0xFC,
       .autocontrast = true},
      {.blends = {{black, 100000}}},
      {.blends = {{black, 0}}, .autocontrast = true},  // constant: nothing to stretch
  };
  return all;
}

/// A record a recipe, with a part of the image for each: at the borders and between.
struct Records {
  Tensor tensor;
  std::vector<Bytes> want;

  Records(const Tensor& images, std::int64_t height, std::int64_t width, int kernel)
      : tensor({images.dim(0), augmentation_bytes(kernel)}, DType::uint8) {
    for (std::int64_t b = 0; b < images.dim(0); ++b) {
      const Recipe& r = recipes()[static_cast<std::size_t>(b)];
      const std::int64_t free_rows = images.dim(1) - height, free_columns = images.dim(2) - width;
      Augmentation a;
      for (std::size_t k = 0; k < r.blends.size(); ++k) {
        a.bases[k] = r.blends[k].first;
        a.factors[k] = r.blends[k].second;
      }
      a.mirrored = r.mirrored ? 1 : 0;
      a.blurred = r.sigma > 0 && kernel > 0 ? 1 : 0;
      a.mask = r.mask;
      a.autocontrast = r.autocontrast ? 1 : 0;
      a.top = static_cast<std::int32_t>(b % 3 == 0 ? 0 : b % 3 == 1 ? free_rows : free_rows / 2);
      a.left = static_cast<std::int32_t>(b % 4 == 0 ? free_columns : b % 4 == 1 ? 0 : free_columns / 3);
      std::vector<float> weights(static_cast<std::size_t>(kernel), 0.F);
      if (a.blurred) weights = data::blur_weights(kernel, r.sigma);
      std::uint8_t* row = tensor.data<std::uint8_t>() + b * tensor.dim(1);
      std::memcpy(row, &a, sizeof a);
      std::ranges::copy(std::as_bytes(std::span(weights)), reinterpret_cast<std::byte*>(row + sizeof a));
      Recipe done = r;
      if (!a.blurred) done.sigma = 0;
      want.push_back(reference(images.rows(b, b + 1).reshape({images.dim(1), images.dim(2), 3}), done,
                               weights, a.top, a.left, height, width));
    }
  }
};

struct Sizes {
  std::int64_t height, width, to_height, to_width;
  int kernel;
};

VITRAL_KERNEL_TEST(Augment, EveryOperationAtOddSizes) {
  for (const Sizes& s : std::vector<Sizes>{{33, 37, 24, 24, 5},
                                           {41, 35, 41, 35, 3},
                                           {5, 7, 4, 3, 1},
                                           {70, 50, 33, 40, 9},
                                           {66, 36, 1, 36, 0},
                                           {4, 5, 4, 5, 7},
                                           {130, 129, 3, 2, 255}}) {
    SCOPED_TRACE(fmt::format("{} x {} of {} x {}, a blur of {}", s.to_width, s.to_height, s.width, s.height,
                             s.kernel));
    const auto count = static_cast<std::int64_t>(recipes().size());
    const Tensor images = noise({count, s.height, s.width, 3}, 7, DType::uint8);
    const Records records(images, s.to_height, s.to_width, s.kernel);
    for (const std::int64_t offset : {0, 1}) {
      Placed got({count, s.to_height, s.to_width, 3}, DType::uint8, offset);
      kernel::augment(got, Placed(images, offset), records.tensor.to(device_under_test));
      EXPECT_TRUE(got.guards_hold());
      const Tensor host = got.to(cpu);
      for (std::int64_t b = 0; b < count; ++b) {
        const std::uint8_t* first = host.data<std::uint8_t>() + b * s.to_height * s.to_width * 3;
        const Bytes& want = records.want[static_cast<std::size_t>(b)];
        EXPECT_TRUE(std::equal(want.begin(), want.end(), first)) << "recipe " << b;
      }
    }
  }
}

// --- what the loader leaves to a device, against its own views ---

AugmentConfig with(float AugmentConfig::*member, float value) {
  AugmentConfig c;
  c.*member = value;
  return c;
}

std::vector<AugmentConfig> configurations() {
  std::vector<AugmentConfig> all{AugmentConfig::clip()};
  for (const auto member : {&AugmentConfig::brightness, &AugmentConfig::contrast, &AugmentConfig::saturation,
                            &AugmentConfig::grayscale, &AugmentConfig::flip, &AugmentConfig::blur,
                            &AugmentConfig::posterize, &AugmentConfig::autocontrast})
    all.push_back(with(member, 0.6F));
  AugmentConfig crops;
  crops.random_crop = true;
  all.push_back(crops);
  AugmentConfig strong = AugmentConfig::clip();
  strong.grayscale = strong.flip = strong.blur = strong.posterize = strong.autocontrast = 0.5F;
  strong.brightness = strong.contrast = strong.saturation = 1.5F;
  strong.blur_kernel = 9;
  strong.posterize_bits = 5;
  all.push_back(strong);
  strong.resize = 0;
  strong.random_crop = false;
  all.push_back(strong);
  return all;
}

VITRAL_KERNEL_TEST(Augment, GivesTheLoadersViews) {
  constexpr std::int64_t seeds = 24;
  for (AugmentConfig config : configurations()) {
    if (config.resize > 0) config.resize = 41;
    SCOPED_TRACE(data::transform_name(config));
    const std::int64_t height = config.resize > 0 ? 41 : 37, width = config.resize > 0 ? 41 : 45;
    const int size = 32;
    const Shape result = config.random_crop ? Shape{size, size, 3} : Shape{height, width, 3};
    Tensor images({seeds, height, width, 3}, DType::uint8),
        want({seeds, result[0], result[1], 3}, DType::uint8),
        records({seeds, data::augmentation_bytes(config)}, DType::uint8);
    for (std::int64_t i = 0; i < seeds; ++i) {
      const Tensor original = noise_image(37, 45, static_cast<int>(i));
      const auto seed = static_cast<std::uint64_t>(i) * 977 + 1;
      images.rows(i, i + 1).reshape({height, width, 3}).copy_from(data::resize_first(original, config));
      data::write_augmentation(records.rows(i, i + 1).data<std::uint8_t>(), config, height, width, size,
                               seed);
      // Without a crop augment() goes on to the model's size: to none other where this is the image's.
      if (config.random_crop)
        want.rows(i, i + 1).reshape(result).copy_from(data::augment(original, config, size, seed));
    }
    if (!config.random_crop) kernel::augment(want, images, records);
    Placed got(want.shape(), DType::uint8, 1);
    kernel::augment(got, Placed(images, 3), records.to(device_under_test));
    EXPECT_TRUE(same_bits(got, want));
  }
}

// A view without a seed is finished before.
VITRAL_KERNEL_TEST(Augment, SeedZeroTakesTheCorner) {
  const AugmentConfig config = AugmentConfig::clip();
  const Tensor image = noise({1, 12, 13, 3}, 3, DType::uint8);
  Tensor record({1, data::augmentation_bytes(config)}, DType::uint8), want({1, 8, 8, 3}, DType::uint8);
  data::write_augmentation(record.data<std::uint8_t>(), config, 12, 13, 8, 0);
  for (std::int64_t y = 0; y < 8; ++y)
    std::memcpy(want.data<std::uint8_t>() + y * 24, image.data<std::uint8_t>() + y * 39, 24);
  Placed got(want.shape(), DType::uint8);
  kernel::augment(got, Placed(image), record.to(device_under_test));
  EXPECT_TRUE(same_bits(got, want));
}

VITRAL_KERNEL_TEST(Augment, NamesTheMisuse) {
  const Device device = device_under_test;
  Tensor to({2, 4, 4, 3}, DType::uint8, device), large({2, 4, 7, 3}, DType::uint8, device);
  const Tensor images({2, 5, 6, 3}, DType::uint8, device), records({2, 32}, DType::uint8, device);
  EXPECT_EQ(message_of([&] { kernel::augment(large, images, records); }),
            "augment: uint8 [2, 4, 7, 3] is no part of images uint8 [2, 5, 6, 3], both must be uint8 "
            "[B, H, W, 3]");
  for (const std::int64_t bytes : {28, 40})
    EXPECT_EQ(
        message_of([&] {
          kernel::augment(to, images, Tensor({2, bytes}, DType::uint8, device));
        }),
        fmt::format("augment: records uint8 [2, {}] must be uint8 [2, 32 + 4 times an odd number, or 0]",
                    bytes));
}

TEST(Augment, RecordsMustFitTheImages) {
  const Tensor image({1, 5, 6, 3}, DType::uint8);
  Tensor to({1, 4, 4, 3}, DType::uint8);
  const auto message = [&](const Augmentation& a, std::int64_t weights) {
    Tensor record = Tensor::zeros({1, augmentation_bytes(weights)}, DType::uint8);
    std::memcpy(record.raw(), &a, sizeof a);
    return message_of([&] { kernel::augment(to, image, record); });
  };
  for (const auto& [top, left] : {std::pair{2, 0}, {0, 3}, {-1, 0}, {0, -1}})
    EXPECT_EQ(message({.top = top, .left = left}, 0),
              fmt::format("augment: 4 x 4 pixels at row {} and column {} leave images of 6 x 5", top, left));
  EXPECT_EQ(message({.blurred = 1}, 0), "augment: a blur of 0 pixels does not fit images of 6 x 5");
  EXPECT_EQ(message({.blurred = 1}, 11), "augment: a blur of 11 pixels does not fit images of 6 x 5");
}

}  // namespace
}  // namespace vitral::test
