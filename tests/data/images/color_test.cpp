#include "data/images/color.h"

#include <gtest/gtest.h>

#include "data/images/augment.h"
#include "data/images/blur.h"
#include "tests/golden.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using namespace test;

const std::string golden = "tests/golden/pixels.h5";

TEST(Color, EnhancementsAsPillow) {
  const Tensor image = read_golden(golden, "image");
  for (const std::string factor : {"0.0", "0.63", "1.37"}) {
    const float f = std::stof(factor);
    EXPECT_EQ(max_difference(adjust_brightness(image, f), read_golden(golden, "brightness/" + factor)), 0)
        << f;
    EXPECT_EQ(max_difference(adjust_contrast(image, f), read_golden(golden, "contrast/" + factor)), 0) << f;
    EXPECT_EQ(max_difference(adjust_saturation(image, f), read_golden(golden, "saturation/" + factor)), 0)
        << f;
  }
}

TEST(Color, FactorOneChangesNothing) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_EQ(max_difference(adjust_brightness(image, 1), image), 0);
  EXPECT_EQ(max_difference(adjust_contrast(image, 1), image), 0);
  EXPECT_EQ(max_difference(adjust_saturation(image, 1), image), 0);
  EXPECT_EQ(max_difference(posterize(image, 8), image), 0);
}

TEST(Color, TablesAsPillow) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_EQ(max_difference(grayscale(image), read_golden(golden, "grayscale")), 0);
  EXPECT_EQ(max_difference(posterize(image, 1), read_golden(golden, "posterize/1")), 0);
  EXPECT_EQ(max_difference(posterize(image, 3), read_golden(golden, "posterize/3")), 0);
  EXPECT_EQ(max_difference(autocontrast(image), read_golden(golden, "autocontrast")), 0);
  const Tensor flat = Tensor::full({4, 5, 3}, 77, DType::uint8);
  EXPECT_EQ(max_difference(autocontrast(flat), flat), 0);
}

TEST(Color, FlipAsPillow) {
  EXPECT_EQ(max_difference(horizontal_flip(read_golden(golden, "image")), read_golden(golden, "flip")), 0);
}

TEST(Blur, AsTorchvision) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_LE(max_difference(gaussian_blur(image, 5, 1.1F), read_golden(golden, "blur/5/1.1")), 1);
  EXPECT_LE(max_difference(gaussian_blur(image, 5, 2.0F), read_golden(golden, "blur/5/2.0")), 1);
  EXPECT_LE(max_difference(gaussian_blur(image, 9, 3.0F), read_golden(golden, "blur/9/3.0")), 1);
}

TEST(Blur, EdgesOfWhatIsPossible) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_EQ(max_difference(gaussian_blur(image, 1, 1.0F), image), 0);
  EXPECT_EQ(max_difference(gaussian_blur(image, 5, 0.1F), image), 0);  // the neighbours weigh e^-50
  const Tensor flat = Tensor::full({3, 3, 3}, 255, DType::uint8);
  EXPECT_EQ(max_difference(gaussian_blur(flat, 5, 2.0F), flat), 0);
}

TEST(Color, PhotographsAsPillow) {
  VITRAL_NEEDS_SHARED(reference, "golden/preprocess.h5");
  for (const std::string& name : golden_names(reference, "/")) {
    const Tensor image = read_golden(reference, name + "/resize_300");
    const auto expected = [&](const std::string& operation) {
      return read_golden(reference, name + "/" + operation);
    };
    EXPECT_EQ(max_difference(adjust_brightness(image, 1.3F), expected("brightness_1.3")), 0) << name;
    EXPECT_EQ(max_difference(adjust_contrast(image, 0.7F), expected("contrast_0.7")), 0) << name;
    EXPECT_EQ(max_difference(adjust_saturation(image, 1.4F), expected("saturation_1.4")), 0) << name;
    EXPECT_EQ(max_difference(grayscale(image), expected("grayscale")), 0) << name;
    EXPECT_EQ(max_difference(horizontal_flip(image), expected("hflip")), 0) << name;
    EXPECT_EQ(max_difference(posterize(image, 3), expected("posterize_3")), 0) << name;
    EXPECT_EQ(max_difference(autocontrast(image), expected("autocontrast")), 0) << name;
    EXPECT_LE(max_difference(gaussian_blur(image, 5, 1.1F), expected("gaussian_blur_5_sigma_1.1")), 1)
        << name;
  }
}

TEST(Color, RefusesWhatIsOutOfRange) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_EQ(message_of([&] { adjust_brightness(image, -0.5F); }),
            "adjust_brightness: factor -0.5 must be 0 or more");
  EXPECT_EQ(message_of([&] { posterize(image, 9); }), "posterize: bits 9 must be 1..8");
  EXPECT_EQ(message_of([&] { gaussian_blur(image, 4, 1); }),
            "gaussian_blur: kernel 4 must be odd and positive");
  EXPECT_EQ(message_of([&] { gaussian_blur(image, 3, 0); }), "gaussian_blur: sigma 0 must be positive");
  EXPECT_EQ(message_of([&] { gaussian_blur(image, 57, 1); }),
            "gaussian_blur: kernel 57 is too large for an image of 36 x 28 pixels");
}

}  // namespace
}  // namespace vitral::data
