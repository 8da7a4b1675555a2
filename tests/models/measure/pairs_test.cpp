// What validation reports of a CLIP.
#include <gtest/gtest.h>

#include "data/hdf5/file.h"
#include "models/clip/measure.h"
#include "tests/support.h"

namespace vitral::models {
namespace {

using Rows = std::vector<std::vector<float>>;
using Texts = std::vector<std::string>;

// An image's embedding and beside it its caption's.
Tensor features(const Rows& images, const Rows& texts) {
  std::vector<float> out;
  for (std::size_t i = 0; i < images.size(); ++i) {
    out.insert(out.end(), images[i].begin(), images[i].end());
    out.insert(out.end(), texts[i].begin(), texts[i].end());
  }
  return Tensor::from(out, {static_cast<std::int64_t>(images.size()), 6});
}

std::map<std::string, double> measured(const Tensor& features, const std::vector<std::int64_t>& indices,
                                       const data::Dataset& dataset, const EmbedTexts& embed) {
  std::map<std::string, double> out;
  for (const auto& [name, value] : measure_pairs(features, indices, dataset, embed)) out[name] = value;
  return out;
}

// Five images, of cats, dogs and owls; `objects`: image and concept of each.
class Pairs : public testing::Test {
 protected:
  data::Dataset dataset(const std::vector<std::pair<std::int64_t, std::int64_t>>& objects = {}) {
    data::H5File f = data::H5File::create(dir_ / "x.h5");
    f.write("/images", Tensor::zeros({5, 2, 2, 3}, DType::uint8));
    if (!objects.empty()) {
      std::vector<std::int64_t> image, which;
      for (const auto& [i, c] : objects) {
        image.push_back(i);
        which.push_back(c);
      }
      const auto n = static_cast<std::int64_t>(objects.size());
      f.write_strings("/concepts/names", {"cat", "dog", "owl"});
      f.write("/objects/image", Tensor::from(image, {n}));
      f.write("/objects/concept", Tensor::from(which, {n}));
      f.write("/objects/box", Tensor::full({n, 4}, 0.5));
    }
    f.close();
    return data::Dataset::open(dir_ / "x.h5");
  }

  test::TempDir dir_;
  const std::vector<float> x{1, 0, 0}, y{0, 1, 0}, z{0, 0, 1};
  const EmbedTexts nobody_ = [](const Texts&) -> Tensor { throw_error("nobody asks for texts"); };
};

TEST_F(Pairs, FindEachOtherBothWays) {
  using Values = std::map<std::string, double>;
  const std::vector<std::int64_t> three{0, 1, 2};
  const auto found = [&](const Rows& images, const Rows& texts) {
    return measured(features(images, texts), three, dataset(), nobody_);
  };
  EXPECT_EQ(found({x, y, z}, {x, y, z}), (Values{{"image_to_text", 1}, {"text_to_image", 1}}));
  EXPECT_EQ(found({x, y, z}, {y, z, x}), (Values{{"image_to_text", 0}, {"text_to_image", 0}}));
  // The first image is nearer to the second's caption, its own caption to it.
  const std::vector<float> near_y{0.8F, 1, 0};
  const Values one_way = found({near_y, y, z}, {x, y, z});
  EXPECT_NEAR(one_way.at("image_to_text"), 2 / 3.0, 1e-12);
  EXPECT_EQ(one_way.at("text_to_image"), 1);
  // The first two images have one caption, which either of them answers.
  const std::vector<float> near_x{1, 0.1F, 0};
  EXPECT_EQ(found({x, near_x, z}, {x, x, z}), (Values{{"image_to_text", 1}, {"text_to_image", 1}}));
}

// Image 1 shows two objects, 3 was skipped.
TEST_F(Pairs, ZeroShotIsOfImagesWithOneObject) {
  const data::Dataset data = dataset({{0, 0}, {1, 0}, {1, 1}, {2, 2}, {3, 2}, {4, 1}});
  const EmbedTexts embed = [&](const Texts& texts) {
    EXPECT_EQ(texts, (Texts{"a photo of a cat", "a photo of a dog", "a photo of a owl"}));
    return Tensor::from(std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1}, {3, 3});
  };
  const std::vector<std::int64_t> indices{0, 1, 2, 4};
  const auto zero_shot = [&](const Rows& images) {
    return measured(features(images, {x, x, x, x}), indices, data, embed).at("zero_shot");
  };
  EXPECT_EQ(zero_shot({x, z, z, y}), 1);
  EXPECT_NEAR(zero_shot({x, x, x, y}), 2 / 3.0, 1e-12);
  EXPECT_EQ(zero_shot({y, x, x, z}), 0);
}

TEST_F(Pairs, WithoutImagesOfOneObjectThereIsNoZeroShot) {
  EXPECT_FALSE(measured(features({x}, {x}), {0}, dataset({{0, 0}, {0, 1}}), nobody_).contains("zero_shot"));
  EXPECT_FALSE(measured(features({x}, {x}), {1}, dataset({{0, 0}}), nobody_).contains("zero_shot"));
}

}  // namespace
}  // namespace vitral::models
