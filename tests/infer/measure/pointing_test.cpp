#include "infer/measure/pointing.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/random.h"
#include "data/benchmarks/shapes.h"
#include "infer/measure/patch_scores.h"
#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;

// A 2x3 grid and concepts along the axes: patch n has the given embeddings [D=2].
Tensor patches(const std::vector<float>& values) { return Tensor::from(values, {1, 6, 2}); }
Tensor axes() { return Tensor::from(std::vector<float>{1, 0, 0, 1}, {2, 2}); }

std::vector<int> overlapping(const Box& box, std::int64_t rows, std::int64_t columns) {
  std::vector<int> found;
  const Cells cells = overlapping_patches(box, rows, columns);
  for (std::int64_t i = 0; i < rows * columns; ++i)
    if (cells.hold(i / columns, i % columns)) found.push_back(static_cast<int>(i));
  return found;
}

TEST(OverlappingPatches, NeedsASharedArea) {
  using V = std::vector<int>;
  EXPECT_EQ(overlapping({0, 0, 1, 1}, 1, 3), (V{0, 1, 2}));
  EXPECT_EQ(overlapping({0.25F, 0.25F, 0.5F, 0.5F}, 4, 4), (V{5}));  // touches its eight neighbours
  EXPECT_EQ(overlapping({0.24F, 0.25F, 0.5F, 0.51F}, 4, 4), (V{4, 5, 8, 9}));
  EXPECT_EQ(overlapping({0.3F, 0.3F, 0.31F, 0.31F}, 4, 4), (V{5}));  // inside one patch
  // A third is not exact in float32; the sliver beyond the border does not count.
  EXPECT_EQ(overlapping({1 / 3.0F, 0, 2 / 3.0F, 1}, 1, 3), (V{1}));
  EXPECT_EQ(overlapping({std::nextafter(1 / 3.0F, 0.0F), 0, std::nextafter(2 / 3.0F, 1.0F), 1}, 1, 3),
            (V{1}));
  EXPECT_EQ(overlapping({0.75F, 0.75F, 1, 1}, 4, 4), (V{15}));
  // A line or a point lies in one patch, borders included.
  EXPECT_EQ(overlapping({0.3F, 0, 0.3F, 1}, 4, 4), (V{1, 5, 9, 13}));
  EXPECT_EQ(overlapping({0.5F, 0.5F, 0.5F, 0.5F}, 4, 4), (V{10}));
  EXPECT_EQ(overlapping({1, 1, 1, 1}, 4, 4), (V{15}));
  EXPECT_EQ(overlapping({0, 0, 0, 0}, 4, 4), (V{0}));
}

TEST(PointingGame, HitsAndMissesByHand) {
  // Concept 0 is strongest in patch 4 (row 1, column 1), though patch 0 is longer; concept 1 in patch 2.
  const Tensor e = patches({50, 40, 1, 1, 0, 3, 1, 1, 2, 0.1F, 0, 0});
  const auto play = [&](std::int64_t c, const Box& box) {
    const LabelledObject object{0, c, box};
    return pointing_game(e, 2, 3, axes(), std::span(&object, 1)).hits;
  };
  EXPECT_EQ(play(0, {0.4F, 0.6F, 0.6F, 0.9F}), 1);
  EXPECT_EQ(play(0, {0.0F, 0.0F, 1.0F, 0.4F}), 0);
  EXPECT_EQ(play(0, {0.0F, 0.0F, 1.0F, 0.5F}), 0);   // ends at the border of patch 4
  EXPECT_EQ(play(0, {0.0F, 0.0F, 1.0F, 0.51F}), 1);  // reaches into it
  EXPECT_EQ(play(1, {0.9F, 0.0F, 1.0F, 0.1F}), 1);
  EXPECT_EQ(play(1, {0.0F, 0.5F, 1.0F, 1.0F}), 0);
}

TEST(PointingGame, FirstOfEqualsPoints) {
  const Tensor e = patches({0, 1, 1, 0, 2, 0, 0, 1, 3, 0, 0, 1});  // concept 0: patches 1, 2 and 4
  EXPECT_EQ(pointed_patch(patch_cosines(e.reshape({6, 2}), axes().rows(0, 1).reshape({2}))), 1);
  const std::vector<LabelledObject> objects{{0, 0, {0.4F, 0, 0.6F, 0.4F}}, {0, 0, {0.7F, 0, 1, 0.4F}}};
  EXPECT_EQ(pointing_game(e, 2, 3, axes(), objects).hits, 1);
}

TEST(PointingGame, ZeroAndNotFiniteEmbeddings) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor e =
      patches({nan, 0, 0, 0, -1, 0, -1, 0, -1, 0, -1, 0});  // the zero vector has cosine 0: the best
  const LabelledObject object{0, 0, {0.4F, 0, 0.6F, 0.4F}};
  EXPECT_EQ(pointing_game(e, 2, 3, axes(), std::span(&object, 1)).hits, 1);
  const Tensor none = Tensor::full({1, 6, 2}, nan);
  const LabelledObject everything{0, 0, {0, 0, 1, 1}};
  EXPECT_EQ(pointing_game(none, 2, 3, axes(), std::span(&everything, 1)).hits, 0);
}

TEST(PointingGame, BatchesAddUp) {
  const Tensor e = Tensor::from(
      std::vector<float>{1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0}, {2, 6, 2});
  const std::vector<LabelledObject> objects{{0, 0, {0, 0, 0.3F, 0.4F}},  // patch 0 of image 0: hit, 1 of 6
                                            {1, 0, {0, 0, 1, 0.5F}},     // patch 5 of image 1: miss, 3 of 6
                                            {1, 0, {0.5F, 0.4F, 1, 0.6F}}};  // hit, 4 of 6
  PointingGame game(axes(), 2, 3);
  EXPECT_EQ(game.result().accuracy(), 0);  // nothing yet
  game.add(e, objects);
  EXPECT_EQ(game.result().objects, 3);
  EXPECT_EQ(game.result().hits, 2);
  EXPECT_NEAR(game.result().chance(), (1 + 3 + 4) / 18.0, 1e-12);
  game.add(e.rows(1, 2), std::vector<LabelledObject>{{0, 0, {0, 0, 1, 0.5F}}});
  EXPECT_EQ(game.result().objects, 4);
  EXPECT_NEAR(game.result().accuracy(), 0.5, 1e-12);
  EXPECT_NEAR(game.result().chance(), (1 + 3 + 4 + 3) / 24.0, 1e-12);
  game.add(e, {});
  EXPECT_EQ(game.result().objects, 4);
}

LabelledObject object(std::int64_t c, const Box& box, bool difficult = false, bool crowd = false) {
  return {.concept_index = c, .box = box, .difficult = difficult, .crowd = crowd};
}

TEST(Trials, AreOfClassesThatTheProtocolAsksFor) {
  const std::vector<LabelledObject> objects{
      object(3, {0, 0, 0.25F, 0.5F}), object(3, {0.5F, 0.5F, 1, 1}, true),
      object(1, {0, 0, 0.5F, 0.5F}, true), object(0, {0, 0, 1, 1}, false, true),
      object(2, {0, 0, 0.5F, 0.375F})};
  const auto trials = trials_of(objects, nullptr);
  ASSERT_EQ(trials.size(), 2U);  // 0 is a crowd, and all of 1 is marked as difficult
  EXPECT_EQ(trials[0].concept_index, 2);
  EXPECT_TRUE(trials[0].difficult);  // 3 / 16 of the image, and others are there
  EXPECT_EQ(trials[1].concept_index, 3);
  EXPECT_EQ(trials[1].boxes.size(), 2U);
  EXPECT_FALSE(trials[1].difficult);                                                          // 1 / 8 + 1 / 4
  EXPECT_FALSE(trials_of(std::vector{object(0, {0, 0, 0.1F, 0.1F})}, nullptr)[0].difficult);  // alone
  // Without objects, the classes of a mask.
  const data::LabelMap mask{2, 3, {0, 2, 65535, 2, 2, 1}};
  const auto of_mask = trials_of({}, &mask);
  ASSERT_EQ(of_mask.size(), 2U);
  EXPECT_EQ(of_mask[0].concept_index, 0);
  EXPECT_TRUE(of_mask[0].difficult);   // 1 / 6
  EXPECT_FALSE(of_mask[1].difficult);  // 3 / 6
  EXPECT_TRUE(trials_of({}, nullptr).empty());
}

TEST(Trials, AHitIsNearerThanTheTolerance) {
  // Columns 4 to 7 and rows 2 and 3 of 10 x 20 pixels.
  const Trial trial{0, {{0.2F, 0.2F, 0.4F, 0.4F}}};
  const auto hit = [&](std::int64_t x, std::int64_t y, double tolerance) {
    return hits(trial, nullptr, 10, 20, x, y, tolerance);
  };
  EXPECT_TRUE(hit(4, 2, 1));
  EXPECT_FALSE(hit(3, 2, 1));  // one pixel off is not less than one
  EXPECT_TRUE(hit(3, 2, 1.01));
  EXPECT_FALSE(hit(10, 7, 5));  // 3 and 4 off
  EXPECT_TRUE(hit(10, 7, 5.1));
  EXPECT_TRUE(hits({0, {{0, 0, 0.1F, 0.1F}, {0.9F, 0.9F, 1, 1}}}, nullptr, 10, 20, 19, 9, 1));
  // A box without the middle of a pixel is the pixel that holds its own.
  const Trial line{0, {{0.49F, 0.5F, 0.49F, 0.5F}}};
  EXPECT_TRUE(hits(line, nullptr, 10, 20, 9, 5, 1));
  EXPECT_FALSE(hits(line, nullptr, 10, 20, 10, 5, 1));
}

TEST(Trials, AMaskIsMoreThanABox) {
  data::LabelMap mask{4, 4, std::vector<std::uint16_t>(16, 0)};
  const std::vector<LabelledObject> all{object(1, {0, 0, 1, 1})};
  EXPECT_FALSE(trials_of(all, &mask)[0].on_mask);
  EXPECT_TRUE(hits(trials_of(all, &mask)[0], &mask, 4, 4, 3, 3, 1));  // it does not show the class
  mask.labels[0] = 2;
  const Trial trial = trials_of(all, &mask)[0];
  EXPECT_TRUE(hits(trial, &mask, 4, 4, 0, 0, 1));
  EXPECT_FALSE(hits(trial, &mask, 4, 4, 3, 3, 3));
  EXPECT_TRUE(hits(trial, &mask, 4, 4, 3, 3, 4.3));  // the root of 18
  // A mask of the image at half its size: the middle of its first pixel lies at 0.5, 0.5.
  EXPECT_TRUE(hits(trial, &mask, 8, 8, 1, 1, 0.8));
  EXPECT_FALSE(hits(trial, &mask, 8, 8, 2, 2, 2));
  EXPECT_TRUE(hits(trial, &mask, 8, 8, 2, 2, 2.2));
}

TEST(FieldPointing, IsAveragedOverClasses) {
  const FieldPointing game{{{4, 1}, {0, 0}, {1, 1}}};
  EXPECT_EQ(game.trials(), 5);
  EXPECT_NEAR(game.accuracy(), (0.25 + 1) / 2, 1e-12);
  EXPECT_EQ(FieldPointing{}.accuracy(), 0);
}

// Perfect patches of the shapes benchmark win, random ones reach the chance level.
TEST(PointingGame, OnTheShapesBenchmark) {
  const auto& space = data::shapes_space();
  Random random(1);
  PointingGame perfect(space.concepts, 8, 8), blind(space.concepts, 8, 8);
  for (int i = 0; i < 300; ++i) {
    const auto sample = data::make_shapes_sample(0, data::Split::val, i);
    Tensor right({1, 64, 64}), noise({1, 64, 64});
    for (std::int64_t j = 0; j < 64 * 64; ++j) noise.data<float>()[j] = static_cast<float>(random.normal());
    for (std::int64_t n = 0; n < 64; ++n)
      std::copy_n(space.background.data<float>(), 64, right.data<float>() + n * 64);
    std::vector<LabelledObject> objects;
    for (const auto& o : sample.objects) {
      objects.push_back({0, o.concept_index, o.box()});
      const std::int64_t middle = (o.y + o.size / 2) / 8 * 8 + (o.x + o.size / 2) / 8;
      std::copy_n(space.concepts.data<float>() + o.concept_index * 64, 64, right.data<float>() + middle * 64);
    }
    perfect.add(right, objects);
    blind.add(noise, objects);
  }
  EXPECT_EQ(perfect.result().accuracy(), 1);
  EXPECT_NEAR(perfect.result().chance(), 0.147, 0.004);
  EXPECT_NEAR(blind.result().accuracy(), 0.147, 0.05);
}

TEST(PointingGame, ErrorsAreOneLine) {
  const auto play = [](const Shape& patch_shape, const Shape& concepts, LabelledObject object) {
    return message_of([&] {
      pointing_game(Tensor::zeros(patch_shape), 8, 8, Tensor::zeros(concepts), std::span(&object, 1));
    });
  };
  const LabelledObject good{0, 0, {0, 0, 1, 1}};
  EXPECT_EQ(play({8, 64, 128}, {36, 64}, good),
            "pointing_game: concepts [36, 64] must match last dim of patches [8, 64, 128]");
  EXPECT_EQ(play({8, 49, 64}, {36, 64}, good),
            "pointing_game: patches [8, 49, 64] must be those of a 8x8 grid");
  EXPECT_EQ(play({64, 64}, {36, 64}, good),
            "pointing_game: patches float32 [64, 64] must be float32 [B, N, D]");
  EXPECT_EQ(play({0, 64, 64}, {36, 64}, good), "pointing_game: patches [0, 64, 64] hold no images");
  EXPECT_EQ(play({1, 64, 64}, {64}, good), "pointing_game: concepts float32 [64] must be float32 [C, D]");
  EXPECT_EQ(play({2, 64, 4}, {3, 4}, {2, 0, {0, 0, 1, 1}}),
            "pointing_game: object 0 is in image 2, images are 0..1");
  EXPECT_EQ(play({2, 64, 4}, {3, 4}, {0, 3, {0, 0, 1, 1}}),
            "pointing_game: object 0 has concept 3, concepts are 0..2");
  EXPECT_EQ(play({2, 64, 4}, {3, 4}, {0, 0, {10, 20, 30, 40}}),
            "pointing_game: object 0 has the box (10, 20, 30, 40), it must be x0 <= x1, y0 <= y1 in 0..1");
  EXPECT_EQ(play({2, 64, 4}, {3, 4}, {0, 0, {0.5F, 0, 0.25F, 1}}),
            "pointing_game: object 0 has the box (0.5, 0, 0.25, 1), it must be x0 <= x1, y0 <= y1 in 0..1");
  EXPECT_EQ(message_of([] {
              PointingGame(Tensor::zeros({3, 4}), 0, 8);
            }),
            "pointing_game: grid 0x8 has no patches");
}

}  // namespace
}  // namespace vitral::infer
