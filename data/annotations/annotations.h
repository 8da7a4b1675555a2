// What others have noted of images, as it stands in their files: objects in boxes, regions, maps of class
// numbers. Coordinates are pixels of the image as it is stored (whatever orientation its camera has noted),
// x to the right and y down from the top left corner.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data/annotations/rasterise.h"

namespace vitral::data {

/// The pixels of an object: polygons, or runs of an image of a size; or neither, where they are not told.
struct Region {
  std::vector<std::int32_t> corners;  // x, y in fifths of a pixel, one polygon after the other
  std::vector<std::uint32_t> ends;    // of each polygon in `corners`
  Runs runs;
  std::int64_t height = 0, width = 0;  // of the image that the runs are of

  bool empty() const { return ends.empty() && runs.empty(); }
};

struct AnnotatedObject {
  std::int64_t id = 0;  // for messages
  std::int64_t concept_index = 0;
  std::array<double, 4> box{};  // x0, y0, x1, y1
  // Where its region stands in the file of annotations; 0 bytes: it has none.
  std::uint64_t region_begin = 0;
  std::uint32_t region_bytes = 0;
  bool difficult = false, crowd = false;
};

struct AnnotatedImage {
  std::string path, name;              // of the image file; its name in the dataset
  std::string source;                  // the file that speaks of it
  const char* kind = "object";         // what that file calls an object
  std::int64_t height = 0, width = 0;  // that the annotations say it has; 0: they do not
  std::vector<AnnotatedObject> objects;
  std::string label_map;  // the PNG of its class numbers; "": none
};

/// What the values of a map mean.
struct ClassNumbers {
  std::int64_t classes = 0;
  bool zero_is_class = false;        // value v is class v; else class v - 1, and 0 is none
  std::vector<std::int64_t> ignore;  // values of pixels that nobody knows
};

struct Annotations {
  std::vector<std::string> concepts;
  std::vector<AnnotatedImage> images;
  ClassNumbers numbers;          // of the label maps
  bool marks_difficult = false;  // whether its objects may be
  bool marks_crowds = false;
  bool has_boxes = false;  // whether it tells objects at all
  bool has_masks = false;  // whether what its pixels show is told of any image
};

/// Clips boxes to the image. Error that names the object: a box wholly outside.
void clip_boxes(AnnotatedImage& image, std::int64_t height, std::int64_t width);

/// The pixels of the objects of an image, `regions` being theirs: crowds, and the boxes of objects whose
/// region is not told, are `ignore`; over them the objects, the larger first, so that of two that overlap the
/// smaller is seen (as detectron2 and Segment Anything draw them); of two of one size the later one. Error
/// that names the object: a region of another image's size, a corner of a polygon further outside than the
/// image is large.
LabelMap paint_objects(const AnnotatedImage& image, const std::vector<Region>& regions, std::int64_t height,
                       std::int64_t width);

}  // namespace vitral::data
