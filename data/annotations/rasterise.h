// Regions as COCO writes them, polygons and run-length encodings, to pixels: bit for bit as pycocotools 2.0
// (maskApi.c: rleFrPoly, rleFrString, rleMerge).
//
// Runs count pixels column by column from the top left, outside and inside the region in turn, beginning
// outside; together they are height x width.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "data/annotations/label_map.h"

namespace vitral::data {

using Runs = std::vector<std::uint32_t>;

/// A place in fifths of a pixel, as polygons are rounded before anything else: int(5 v + 0.5). False where
/// that is not below 2^28.
bool to_fifths(double pixels, std::int32_t& fifths);

/// Of one polygon, its corners x, y, x, y ... in fifths of a pixel; at least one corner.
Runs runs_of_polygon(std::span<const std::int32_t> corners, std::int64_t height, std::int64_t width);

/// What lies in one or the other; both of the same image.
Runs merge_runs(const Runs& a, const Runs& b);

/// The text of a compressed encoding. False where it is none: it ends within a number, or a run is negative
/// or above 2^32.
bool decode_runs(std::string_view text, Runs& runs);

/// Pixels inside.
std::uint64_t area_of(const Runs& runs);

/// A canvas for regions, painted one over the other.
class LabelCanvas {
 public:
  LabelCanvas(std::int64_t height, std::int64_t width);

  /// Runs of that size.
  void paint(const Runs& runs, std::uint16_t label);
  /// All pixels that [x0, x1) x [y0, y1) touches.
  void paint_box(double x0, double y0, double x1, double y1, std::uint16_t label);
  LabelMap finish() const;

 private:
  std::int64_t height_, width_;
  std::vector<std::uint16_t> columns_;  // [width, height]
};

}  // namespace vitral::data
