// Regions to pixels, against pycocotools (tests/reference/make_annotations.py).
#include "data/annotations/rasterise.h"

#include <numeric>

#include <gtest/gtest.h>

#include "data/annotations/annotations.h"
#include "data/hdf5/file.h"

namespace vitral::data {
namespace {

const std::string golden = "tests/golden/annotations/annotations.h5";

std::vector<std::int32_t> fifths_of(const std::vector<double>& numbers, std::int64_t begin,
                                    std::int64_t end) {
  std::vector<std::int32_t> out;
  for (std::int64_t k = begin; k < end; ++k)
    EXPECT_TRUE(to_fifths(numbers[static_cast<std::size_t>(k)], out.emplace_back()));
  return out;
}

Runs runs_of_text(const std::string& text) {
  Runs runs;
  EXPECT_TRUE(decode_runs(text, runs)) << text;
  return runs;
}

TEST(Rasterise, PolygonsAsPycocotools) {
  const H5File f = H5File::open(golden);
  const auto corners = f.read("/polygons/corners").to_vector(),
             begins = f.read("/polygons/begins").to_vector(), sizes = f.read("/polygons/sizes").to_vector(),
             masks = f.read("/polygons/masks").to_vector();
  const auto texts = f.read_strings("/polygons/runs");
  ASSERT_EQ(texts.size(), 60U);
  auto mask = masks.begin();
  int inside = 0;
  for (std::size_t k = 0; k < texts.size(); ++k) {
    const auto height = static_cast<std::int64_t>(sizes[2 * k]),
               width = static_cast<std::int64_t>(sizes[2 * k + 1]);
    const Runs runs = runs_of_polygon(
        fifths_of(corners, static_cast<std::int64_t>(begins[k]), static_cast<std::int64_t>(begins[k + 1])),
        height, width);
    EXPECT_EQ(runs, runs_of_text(texts[k])) << "polygon " << k;
    EXPECT_EQ(std::accumulate(runs.begin(), runs.end(), std::int64_t{0}), height * width);
    LabelCanvas canvas(height, width);
    canvas.paint(runs, 1);
    const LabelMap map = canvas.finish();
    std::uint64_t area = 0;
    for (const std::uint16_t label : map.labels) {
      ASSERT_EQ(label, *mask++) << "polygon " << k;
      area += label;
    }
    EXPECT_EQ(area, area_of(runs));
    inside += area > 0 ? 1 : 0;
  }
  EXPECT_EQ(mask, masks.end());
  EXPECT_GT(inside, 40);
}

TEST(Rasterise, UnionsAsPycocotools) {
  const H5File f = H5File::open(golden);
  const auto corners = f.read("/polygons/corners").to_vector(),
             begins = f.read("/polygons/begins").to_vector();
  const auto texts = f.read_strings("/merged");
  ASSERT_EQ(texts.size(), 10U);
  for (std::size_t k = 0; k < texts.size(); ++k) {
    const auto polygon = [&](std::size_t p) {
      return runs_of_polygon(
          fifths_of(corners, static_cast<std::int64_t>(begins[p]), static_cast<std::int64_t>(begins[p + 1])),
          40, 40);
    };
    EXPECT_EQ(merge_runs(polygon(2 * k), polygon(2 * k + 1)), runs_of_text(texts[k])) << k;
  }
}

TEST(Rasterise, CompressedRunsAsPycocotools) {
  const H5File f = H5File::open(golden);
  for (const std::string k : {"0", "1", "2", "3", "4"}) {
    const auto runs = f.read("/compressed/" + k + "/runs").to_vector();
    const Runs expected(runs.begin(), runs.end());
    EXPECT_EQ(runs_of_text(f.read_strings("/compressed/" + k + "/text").front()), expected);
  }
  Runs runs;
  for (const char* damaged : {"P", "o", "oooooooooo1", "a b", "\x7f", "1O"})
    EXPECT_FALSE(decode_runs(damaged, runs));
  EXPECT_TRUE(decode_runs("", runs));
  EXPECT_TRUE(runs.empty());
}

TEST(Rasterise, WhatIsNoPlace) {
  std::int32_t fifths = 0;
  EXPECT_TRUE(to_fifths(12.1, fifths));
  EXPECT_EQ(fifths, 61);
  for (const double place : {1e300, -1e300, 1e8, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()})
    EXPECT_FALSE(to_fifths(place, fifths)) << place;
}

// By hand: a square of 4 x 4 and within it one of 2 x 2, whichever comes first; a crowd below both.
TEST(Rasterise, TheSmallerOfTwoIsSeen) {
  const auto square = [](std::int64_t concept_index, double from, double to) {
    AnnotatedObject o;
    o.concept_index = concept_index;
    o.box = {from, from, to, to};
    return o;
  };
  AnnotatedImage image;
  image.objects = {square(1, 1, 3), square(0, 0, 4), square(2, 0, 5)};
  std::vector<Region> regions(3);
  for (std::size_t k = 0; k < 3; ++k) {
    const double from = image.objects[k].box[0], to = image.objects[k].box[2];
    for (const double v : {from, from, to, from, to, to, from, to})
      to_fifths(v, regions[k].corners.emplace_back());
    regions[k].ends = {8};
  }
  image.objects[2].crowd = true;
  constexpr std::uint16_t i = LabelMap::ignore;
  EXPECT_EQ(paint_objects(image, regions, 5, 6).labels, (std::vector<std::uint16_t>{1, 1, 1, 1, i, 0,  //
                                                                                    1, 2, 2, 1, i, 0,  //
                                                                                    1, 2, 2, 1, i, 0,  //
                                                                                    1, 1, 1, 1, i, 0,  //
                                                                                    i, i, i, i, i, 0}));
  regions[1] = {};  // only its box is known
  EXPECT_EQ(paint_objects(image, regions, 5, 6).labels[0], i);
  EXPECT_EQ(paint_objects(image, regions, 5, 6).labels[7], 2);
}

}  // namespace
}  // namespace vitral::data
