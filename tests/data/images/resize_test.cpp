#include <gtest/gtest.h>

#include "data/images/image.h"
#include "data/images/transform.h"
#include "tests/golden.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using namespace test;

const std::string golden = "tests/golden/pixels.h5";

std::pair<int, int> size_of_name(const std::string& name) {  // "61x23"
  return {std::stoi(name), std::stoi(name.substr(name.find('x') + 1))};
}

TEST(Resize, AsPillow) {
  const Tensor image = read_golden(golden, "image");
  for (const auto& [group, filter] :
       {std::pair{std::string("resize/bilinear"), Filter::bilinear}, {"resize/bicubic", Filter::bicubic}}) {
    const auto names = golden_names(golden, group);
    EXPECT_EQ(names.size(), 6U);
    for (const std::string& name : names) {
      const auto [width, height] = size_of_name(name);
      EXPECT_EQ(max_difference(resize(image, width, height, filter), read_golden(golden, group + "/" + name)),
                0)
          << group << " " << name;
    }
  }
}

TEST(Resize, PhotographsAsPillow) {
  VITRAL_NEEDS_SHARED(reference, "golden/preprocess.h5");
  for (const std::string& name : golden_names(reference, "/")) {
    const Tensor image = read_golden(reference, name + "/rgb");
    for (const int size : {224, 300}) {
      const Tensor expected = read_golden(reference, name + "/resize_" + std::to_string(size));
      EXPECT_EQ(max_difference(resize(image, size, size, Filter::bilinear), expected), 0) << name << size;
    }
  }
}

TEST(Resize, SameSizeIsTheSameImage) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_TRUE(resize(image, 36, 28, Filter::bicubic).shares_memory_with(image));
}

TEST(Resize, CenterCropAsTorchvision) {
  const auto names = golden_names(golden, "center_crop");
  EXPECT_EQ(names.size(), 5U);
  for (const std::string& name : names) {
    const Tensor image = read_golden(golden, "center_crop/" + name + "/image");
    EXPECT_EQ(max_difference(resize_crop(image, 16, {}), read_golden(golden, "center_crop/" + name + "/16")),
              0)
        << name;
  }
}

TEST(Resize, VeryNarrowImagesNeedNoMemoryForWhatIsCutOff) {
  const Tensor line = Tensor::full({1, 100000, 3}, 9, DType::uint8);
  const Tensor square = resize_crop(line, 224, {});
  EXPECT_EQ(max_difference(square, Tensor::full({224, 224, 3}, 9, DType::uint8)), 0);
}

TEST(Crop, TakesTheWindow) {
  const Tensor image = read_golden(golden, "image");
  const Tensor part = crop(image, 5, 3, 7, 4);
  ASSERT_EQ(part.shape(), Shape({4, 7, 3}));
  for (int y = 0; y < 4; ++y)
    for (int i = 0; i < 21; ++i)
      EXPECT_EQ(part.data<std::uint8_t>()[y * 21 + i],
                image.data<std::uint8_t>()[((y + 3) * 36 + 5) * 3 + i]);
}

TEST(Crop, PhotographsAsPillow) {
  VITRAL_NEEDS_SHARED(reference, "golden/preprocess.h5");
  for (const std::string& name : golden_names(reference, "/"))
    EXPECT_EQ(max_difference(crop(read_golden(reference, name + "/resize_300"), 40, 30, 224, 224),
                             read_golden(reference, name + "/crop_top30_left40")),
              0)
        << name;
}

TEST(Resize, RefusesSizesThatCannotBe) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_EQ(message_of([&] { resize(image, 0, 5, Filter::bilinear); }),
            "resize: cannot make an image of 0 x 5 pixels");
  EXPECT_EQ(message_of([&] { resize(image, 2000000000, 2000000000, Filter::bilinear); }),
            "resize: cannot make an image of 2000000000 x 2000000000 pixels");
  EXPECT_EQ(message_of([] {
              resize(Tensor({1000000, 1, 3}, DType::uint8), 224, 224, Filter::bilinear);
            }),
            "resize: an image of 1 x 1000000 is too narrow to be scaled to 224 x 224");
  EXPECT_EQ(message_of([&] { crop(image, 30, 0, 7, 4); }),
            "crop: 7 x 4 pixels at (30, 0) are not inside an image of 36 x 28");
  EXPECT_EQ(message_of([&] { crop(image, -1, 0, 7, 4); }),
            "crop: 7 x 4 pixels at (-1, 0) are not inside an image of 36 x 28");
}

}  // namespace
}  // namespace vitral::data
