// A contact sheet: lines of images under a heading, each with a caption; what a search found.
//
//   SheetLine line{"a dog jumping", {{image, "0.31 beach.jpg"}}};
//   data::write_image("found.png", draw_contact_sheet({{line}}));
#pragma once
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::infer {

struct SheetImage {
  Tensor image;  // uint8 [H,W,3] of any size; undefined: an empty place
  std::string caption;
};

struct SheetLine {
  std::string heading;
  std::vector<SheetImage> images;  // continued below where there are more than `columns`
};

struct SheetOptions {
  int cell = 160;  // pixels a side of the square that an image fits into
  int columns = 10;
};

/// uint8 [H,W,3]. UsageError: no lines, an image of another shape or dtype, a picture of more than 2^27
/// pixels.
Tensor draw_contact_sheet(std::span<const SheetLine> lines, const SheetOptions& options = {});

}  // namespace vitral::infer
