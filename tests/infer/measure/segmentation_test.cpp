#include "infer/measure/segmentation.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;

// Two patches side by side, two concepts along the axes, pictures of 4x4 pixels. The left patch shows concept
// 0, the right one concept 1, so that the two left columns are predicted 0 and the others 1.
Tensor axes() { return Tensor::from(std::vector<float>{1, 0, 0, 1}, {2, 2}); }
Tensor left_right() { return Tensor::from(std::vector<float>{3, 0, 0, 2}, {1, 2, 2}); }

SegmentationResult measure(const std::vector<LabelledObject>& objects, std::optional<float> background = {},
                           const Tensor& patches = left_right()) {
  Segmentation s(axes(), 1, 2, 4, background);
  s.add(patches, objects);
  return s.result();
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

TEST(Segmentation, ImagesAddUpAndThoseWithoutObjectsAreLeftOut) {
  Segmentation s(axes(), 1, 2, 4);
  const Tensor three = Tensor::from(std::vector<float>{3, 0, 0, 2, 3, 0, 0, 2, 0, 1, 1, 0}, {3, 2, 2});
  const std::vector<LabelledObject> objects{{0, 0, {0, 0, 0.5F, 1}}, {2, 0, {0, 0, 0.5F, 1}}};
  s.add(three, objects);
  expect_counts(s.result().concepts[0], 16, 8, 8);
  s.add(left_right(), std::vector<LabelledObject>{{0, 0, {0, 0, 1, 1}}});
  expect_counts(s.result().concepts[0], 32, 16, 16);
  EXPECT_EQ(s.result().pixels, 32);
}

TEST(Segmentation, ConstantEmbeddingsNameTheFirstConcept) {
  const auto r = measure({{0, 0, {0, 0, 0.5F, 1}}, {0, 1, {0.5F, 0, 1, 1}}}, {}, Tensor::full({1, 2, 2}, 1));
  EXPECT_NEAR(r.mean_iou(), (0.5 + 0) / 2, 1e-12);
  EXPECT_LT(r.mean_iou(), r.chance());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(measure({{0, 0, {0, 0, 1, 1}}}, {}, Tensor::full({1, 2, 2}, nan)).mean_iou(), 0);
}

TEST(Segmentation, ErrorsAreOneLine) {
  EXPECT_EQ(message_of([] { Segmentation(axes(), 0, 2, 4); }), "segmentation: grid 0x2 has no patches");
  EXPECT_EQ(message_of([] { Segmentation(axes(), 1, 2, 0); }),
            "segmentation: 0 pixels a side, there must be 1..16384");
  EXPECT_EQ(message_of([] {
              measure({{0, 2, {0, 0, 1, 1}}});
            }),
            "segmentation: object 0 has concept 2, concepts are 0..1");
  EXPECT_EQ(message_of([] {
              measure({{0, 0, {1, 0, 0, 1}}});
            }),
            "segmentation: object 0 has the box (1, 0, 0, 1), it must be x0 <= x1, y0 <= y1 in 0..1");
}

}  // namespace
}  // namespace vitral::infer
