#include "infer/measure/segmentation.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "infer/measure/patch_scores.h"
#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;

// Two patches side by side, two concepts along the axes, pictures of 4x4 pixels. The left patch shows concept
// 0, the right one concept 1, so that the two left columns are predicted 0 and the others 1.
Tensor axes() { return Tensor::from(std::vector<float>{1, 0, 0, 1}, {2, 2}); }
Tensor left_right() { return Tensor::from(std::vector<float>{3, 0, 0, 2}, {1, 2, 2}); }

ScoreMaps maps_of(const Tensor& patches) {
  Tensor cosines({1, 2, 2});
  TextScorer(axes()).score(patches.data<float>(), 2, cosines.data<float>());
  return {cosines, 1, 2};
}

SegmentationResult measure(const LabelMap& labels, std::optional<float> background = {},
                           const Tensor& patches = left_right(), bool on_masks = true) {
  const Segmentation s(2, {0, 1}, background);
  SegmentationResult out = s.nothing(on_masks);
  out.add(s.measure(maps_of(patches), labels), 1);
  return out;
}

SegmentationResult measure(const std::vector<LabelledObject>& objects, std::optional<float> background = {},
                           const Tensor& patches = left_right()) {
  return measure(labels_of_boxes(objects, 4), background, patches, false);
}

void expect_counts(const PixelCounts& c, std::int64_t labelled, std::int64_t predicted, std::int64_t both) {
  EXPECT_EQ(c.labelled, labelled);
  EXPECT_EQ(c.predicted, predicted);
  EXPECT_EQ(c.both, both);
}

TEST(Segmentation, ByHand) {
  // Concept 0 fills the left 3 of 4 columns, concept 1 the last.
  const auto r = measure({{0, 0, {0, 0, 0.75F, 1}}, {0, 1, {0.75F, 0, 1, 1}}});
  expect_counts(r.concepts[0], 12, 8, 8);
  expect_counts(r.concepts[1], 4, 8, 4);
  EXPECT_EQ(r.pixels, 16);
  EXPECT_NEAR(r.mean_iou(), (8 / 12.0 + 4 / 8.0) / 2, 1e-12);
  // Predictions at random: 8 pixels of each; of 12 labelled 6 are met.
  EXPECT_NEAR(r.chance(), (6 / 14.0 + 2 / 10.0) / 2, 1e-12);
}

TEST(Segmentation, OnlyPixelsInBoxesCount) {
  // The upper right quarter is labelled 0, where 1 is predicted; nothing else is.
  const auto r = measure({{0, 0, {0.5F, 0, 1, 0.5F}}});
  expect_counts(r.concepts[0], 4, 0, 0);
  expect_counts(r.concepts[1], 0, 4, 0);
  EXPECT_EQ(r.pixels, 4);
  EXPECT_EQ(r.mean_iou(), 0);  // of concept 0 alone: 1 has no labelled pixel
}

TEST(Segmentation, APixelIsLabelledByItsMiddle) {
  // Middles lie at 1/8, 3/8, 5/8, 7/8. A box without one, and a line, label nothing.
  EXPECT_EQ(measure({{0, 0, {0.125F, 0, 0.375F, 1}}}).concepts[0].labelled, 4);
  EXPECT_EQ(measure({{0, 0, {0.13F, 0, 0.37F, 1}}}).pixels, 0);
  EXPECT_EQ(measure({{0, 0, {0.375F, 0, 0.375F, 1}}}).pixels, 0);
  EXPECT_EQ(measure({{0, 0, {0, 0, 1, 1}}}).concepts[0].labelled, 16);
}

TEST(Segmentation, PixelsOfSeveralConceptsAreLeftOut) {
  const auto r = measure({{0, 0, {0, 0, 0.75F, 1}}, {0, 1, {0.5F, 0, 1, 1}}});
  EXPECT_EQ(r.ambiguous, 4);
  EXPECT_EQ(r.pixels, 12);
  EXPECT_EQ(r.mean_iou(), 1);
  // Two boxes of one concept are one region.
  EXPECT_EQ(measure({{0, 0, {0, 0, 0.5F, 1}}, {0, 0, {0.25F, 0, 0.5F, 1}}}).ambiguous, 0);
}

TEST(Segmentation, BackgroundIsWhatNoConceptReaches) {
  // Cosine 1 with the concepts in the outer columns, 0.75 in the inner ones, which lie between the middles of
  // the patches: with 0.9 only the outer columns show a concept.
  const std::vector<LabelledObject> left{{0, 0, {0, 0, 0.5F, 1}}};
  const auto r = measure(left, 0.9F);
  EXPECT_EQ(r.pixels, 16);
  expect_counts(r.concepts[0], 8, 4, 4);
  expect_counts(r.concepts[1], 0, 4, 0);
  expect_counts(r.background.value(), 8, 8, 4);
  EXPECT_NEAR(r.mean_iou(), (4 / 8.0 + 4 / 12.0) / 2, 1e-12);
  const double third = 16 / 3.0, met = 8 / 3.0;
  EXPECT_NEAR(r.chance(), met / (8 + third - met), 1e-12);
  EXPECT_FALSE(measure(left).background.has_value());
}

TEST(Segmentation, ImagesAddUp) {
  const Segmentation s(2, {0, 1}, {});
  SegmentationResult sum = s.nothing();
  const LabelMap left = labels_of_boxes(std::vector<LabelledObject>{{0, 0, {0, 0, 0.5F, 1}}}, 4);
  const LabelMap all = labels_of_boxes(std::vector<LabelledObject>{{0, 0, {0, 0, 1, 1}}}, 4);
  sum.add(s.measure(maps_of(left_right()), left), 2);
  expect_counts(sum.concepts[0], 16, 16, 16);
  sum.add(s.measure(maps_of(left_right()), all), 1);
  expect_counts(sum.concepts[0], 32, 24, 24);
  expect_counts(sum.concepts[1], 0, 8, 0);
  EXPECT_EQ(sum.pixels, 32);
  EXPECT_NEAR(sum.pixel_accuracy(), 24 / 32.0, 1e-12);
}

// Of masks: 2 x 2 pixels are predicted 0 1 / 0 1.
TEST(Segmentation, MasksByHand) {
  // 0 0 / 1 ?: one of two pixels of concept 0 is met, the one of concept 1 is not.
  const auto r = measure(LabelMap{2, 2, {1, 1, 2, LabelMap::ignore}});
  expect_counts(r.concepts[0], 2, 2, 1);
  expect_counts(r.concepts[1], 1, 1, 0);
  EXPECT_EQ(r.pixels, 3);
  EXPECT_EQ(r.ambiguous, 1);
  EXPECT_NEAR(r.mean_iou(), (1 / 3.0 + 0) / 2, 1e-12);
  EXPECT_NEAR(r.pixel_accuracy(), 1 / 3.0, 1e-12);
  EXPECT_NEAR(r.mean_accuracy(), (0.5 + 0) / 2, 1e-12);
  // Without background a pixel that shows nothing does not count; with it, it is a class of its own.
  const LabelMap half{2, 2, {1, LabelMap::none, 1, LabelMap::none}};
  EXPECT_EQ(measure(half).mean_iou(), 1);
  const auto all = measure(half, -1);
  expect_counts(*all.background, 2, 0, 0);
  // A class that is predicted and not there counts on masks, as mmseg has it: 1, 0 of concept 1, 0 of the
  // background.
  EXPECT_NEAR(all.mean_iou(), 1 / 3.0, 1e-12);
  EXPECT_NEAR(measure(half, -1, left_right(), false).mean_iou(), 1 / 2.0, 1e-12);
  EXPECT_NEAR(all.mean_accuracy(), 1 / 2.0, 1e-12);
}

TEST(Segmentation, TheCeilingSaysOfEachCellWhatMostOfItShows) {
  const Segmentation s(2, {0, 1}, {}), with_background(2, {0, 1}, 0.5F);
  // 2 x 4 pixels, two cells: 0 0 0 1 and 1 1 ? none.
  const LabelMap labels{2, 4, {1, 1, 2, 2, 1, 2, LabelMap::ignore, LabelMap::none}};
  SegmentationResult r = s.nothing(true);
  r.add(s.ceiling(labels, 1, 2), 1);
  expect_counts(r.concepts[0], 3, 4, 3);
  expect_counts(r.concepts[1], 3, 2, 2);
  r = with_background.nothing(true);
  r.add(with_background.ceiling(labels, 2, 4), 1);  // a cell each pixel
  EXPECT_EQ(r.mean_iou(), 1);
  EXPECT_EQ(r.background->both, 1);
  // Half a cell at the end: of 4 columns, 1.5 cells, the first has three... 8 / 3 pixels, by their middles 3.
  r = s.nothing(true);
  r.add(s.ceiling(LabelMap{1, 4, {1, 1, 2, 2}}, 1, 1.5), 1);
  expect_counts(r.concepts[0], 2, 3, 2);
  expect_counts(r.concepts[1], 2, 1, 1);
}

TEST(Segmentation, ConstantEmbeddingsNameTheFirstConcept) {
  const auto r = measure({{0, 0, {0, 0, 0.5F, 1}}, {0, 1, {0.5F, 0, 1, 1}}}, {}, Tensor::full({1, 2, 2}, 1));
  EXPECT_NEAR(r.mean_iou(), (0.5 + 0) / 2, 1e-12);
  EXPECT_LT(r.mean_iou(), r.chance());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(measure({{0, 0, {0, 0, 1, 1}}}, {}, Tensor::full({1, 2, 2}, nan)).mean_iou(), 0);
}

TEST(Segmentation, ErrorsAreOneLine) {
  EXPECT_EQ(message_of([] { Segmentation(0, {}, {}); }), "segmentation: 0 concepts, there must be 1..65534");
  EXPECT_EQ(message_of([] {
              Segmentation(2, {0, 2}, {});
            }),
            "segmentation: a text of concept 2, there are 2");
  EXPECT_EQ(message_of([] { measure(LabelMap{1, 1, {3}}); }), "segmentation: label 3 is none of 2 concepts");
  EXPECT_EQ(message_of([] {
              Segmentation(2, {0, 1, 1}, {}).measure(maps_of(left_right()), LabelMap{1, 1, {1}});
            }),
            "segmentation: maps of 2 texts, there must be 3");
}

}  // namespace
}  // namespace vitral::infer
